"""What pools may use: one alone, and all of a process together."""

from collections.abc import Mapping
from dataclasses import dataclass

from tiergate.tenant import Tier


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What one pool may use, in PgBouncer's words; times in seconds.

    Attributes:
        max_tenant_inflight: Connections that one of its tenants may have at a time.
        max_tenant_waiting: Requests of one of its tenants that may wait.
    """

    default_pool_size: int
    min_pool_size: int
    reserve_pool_size: int
    reserve_pool_timeout: float
    max_waiting: int
    max_tenant_inflight: int
    max_tenant_waiting: int
    query_wait_timeout: float
    server_idle_timeout: float
    server_lifetime: float
    server_connect_timeout: float
    max_prepared_statements: int


@dataclass(frozen=True, slots=True)
class SwitchboardLimits:
    """What all pools of this process may use together.

    Attributes:
        max_db_connections: To one cluster, this process's share.
        max_db_dials: Of those, as many may be opened at a time.
        max_pools: Pools kept at once.
        tiers: What one pool of each tier may use.
    """

    max_db_connections: int
    max_db_dials: int
    max_pools: int
    tiers: Mapping[Tier, PoolLimits]
