"""How full the pools are at one instant: values that `pools` fills and `observe` reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tiergate.tenant import Tier

BreakerState = Literal["closed", "half-open", "open"]


@dataclass(frozen=True, slots=True)
class TierCount:
    """All pools of one tier in this process, added up.

    Attributes:
        pools: Pools that are open.
        active: Connections that a lease holds.
        idle: Connections that wait for a lease.
        opening: Connections being dialled.
        closing: Connections that the server has not yet let go of.
        waiting: Requests in line for a connection.
    """

    tier: Tier
    pools: int
    active: int
    idle: int
    opening: int
    closing: int
    waiting: int


@dataclass(frozen=True, slots=True)
class BudgetCount:
    """Server connections to one cluster: how many this process may hold, and how many it holds.

    Attributes:
        used: Includes those being opened and those being closed.
        opening: Those being opened.
        is_up: Whether it lets us in, as far as is known.
    """

    cluster: str
    max: int
    used: int
    opening: int = 0
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class PoolCount:
    """The connections of pools on one cluster.

    Attributes:
        size: How many there may be.
        active, idle, opening, closing: As of `TierCount`.
    """

    tier: Tier
    cluster: str
    size: int
    active: int
    idle: int
    opening: int
    closing: int

    def plus(self, other: "PoolCount") -> "PoolCount":
        """Both together."""
        return PoolCount(
            self.tier, self.cluster, self.size + other.size, self.active + other.active,
            self.idle + other.idle, self.opening + other.opening, self.closing + other.closing,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TenantCount:
    """What one tenant has in hand.

    Attributes:
        inflight: Its requests that have a connection.
        waiting: Those that wait for one.
        oldest_s: For how long the first of these has.
        pools: Those that serve it, one for each tier and cluster; the connections of others, too.
    """

    inflight: int = 0
    waiting: int = 0
    oldest_s: float = 0.0
    pools: tuple[PoolCount, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """This process's pools at one instant; tiers and clusters without pools may be left out.

    Attributes:
        reserves: By cluster, connections that pools have beyond their size, for who has waited too long.
        breakers: By cluster, whether it lets us in: "half-open" while one dial may try.
        lookups: How often a pool was asked for so far, by tier and outcome: "hit" or "miss".
    """

    tiers: tuple[TierCount, ...] = ()
    budgets: tuple[BudgetCount, ...] = ()
    reserves: Mapping[str, int] = field(default_factory=dict)
    breakers: Mapping[str, BreakerState] = field(default_factory=dict)
    lookups: Mapping[tuple[Tier, str], int] = field(default_factory=dict)
