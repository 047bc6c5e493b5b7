"""What one pool may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What one pool may use, in PgBouncer's words; times in seconds."""

    default_pool_size: int
    max_waiting: int
    query_wait_timeout: float
    server_idle_timeout: float
    server_lifetime: float
    server_connect_timeout: float
    max_prepared_statements: int
