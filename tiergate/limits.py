"""What the settings mean for one process's doors and pools. Pure; nothing is opened here."""

from config.settings import Settings
from pools.binding import BELIEVED_S as TOKEN_S
from pools.bounds import PoolLimits, SwitchboardLimits
from router.rates import Rate
from router.sql import DoorLimits
from tiergate.tenant import Tier

_MARGIN_S = 60.0


def pool_limits(settings: Settings) -> SwitchboardLimits:
    """What this process's pools may use; of the clusters' connections, its share."""
    pools = settings.pools
    return SwitchboardLimits(
        max_db_connections=pools.max_db_connections // settings.gateway.processes,
        max_db_dials=max(1, pools.max_db_dials // settings.gateway.processes),
        max_pools=pools.max_pools,
        tiers={
            tier: PoolLimits(
                default_pool_size=limits.default_pool_size,
                min_pool_size=limits.min_pool_size,
                reserve_pool_size=limits.reserve_pool_size,
                reserve_pool_timeout=limits.reserve_pool_timeout,
                max_waiting=limits.max_waiting,
                max_tenant_inflight=limits.max_tenant_inflight,
                max_tenant_waiting=limits.max_tenant_waiting,
                query_wait_timeout=limits.query_wait_timeout,
                server_idle_timeout=pools.server_idle_timeout,
                server_lifetime=pools.server_lifetime,
                server_connect_timeout=pools.server_connect_timeout,
                max_prepared_statements=pools.max_prepared_statements,
            )
            for tier, limits in pools.tiers.items()
        },
    )


def schemas(settings: Settings) -> frozenset[str]:
    """Names under which statements may write the application's schema."""
    # "public" too: that is what Prisma, among others, puts before every table.
    return frozenset({"public", settings.application.schema})


def rates(settings: Settings) -> dict[Tier, Rate]:
    """How often one tenant may ask this process, where it has no limit of its own.

    Not divided by the processes: which of them a caller's connection leads to is chance.
    """
    return {tier: Rate(limits.requests_per_s, limits.burst) for tier, limits in settings.pools.tiers.items()}


def retire_after_s(settings: Settings) -> float:
    """For how long a gateway that hears nothing may sign with a key that was replaced.

    It believes what it has read for its TTL, and longer while the registry does not answer; what it signed
    last is good for a while. Gateways of one registry are taken to be configured alike.
    """
    remembered_s = max(1.1 * settings.registry.ttl_s, settings.registry.stale_for_s)
    return remembered_s + settings.gateway.request_timeout_s + TOKEN_S


def forget_after_s(settings: Settings) -> float:
    """How long others reckon with a process that is silent: longer than it can serve anybody.

    It takes nobody in once it has heard nothing for `retire_after_s`; whom it took in just before is
    answered, row by row perhaps.
    """
    gateway = settings.gateway
    return retire_after_s(settings) + max(gateway.request_timeout_s, gateway.stream_timeout_s) + _MARGIN_S


def full_sql(settings: Settings) -> frozenset[Tier]:
    """The tiers whose tenants may run all of SQL."""
    return frozenset(tier for tier, guard in settings.guard.tiers.items() if guard.sql == "full")


def door_limits(settings: Settings) -> DoorLimits:
    """What one request may take."""
    gateway = settings.gateway
    return DoorLimits(
        request_timeout_s=gateway.request_timeout_s,
        body_timeout_s=gateway.body_timeout_s,
        max_request_bytes=gateway.max_request_bytes,
        max_response_bytes=gateway.max_response_bytes,
        stream_stall_s=gateway.stream_stall_s,
        stream_timeout_s=gateway.stream_timeout_s,
        statement_timeout_s={
            tier: limits.statement_timeout_s for tier, limits in settings.pools.tiers.items()
        },
        schemas=schemas(settings),
        full_sql=full_sql(settings),
    )
