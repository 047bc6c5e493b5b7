"""What metrics say of pools, of the servers behind them, and of the orders that they are given."""

from observe.book import Book
from observe.clusters import ClusterGauges
from observe.snapshot import PoolSnapshot
from tiergate.events import (
    ClockRead,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    PoolClosed,
    ProtectionLost,
)
from tiergate.happenings.orders import GatesSet, OrderDone
from tiergate.happenings.refusals import CheckoutRefused
from tiergate.tenant import Tier

REFUSALS = (
    "rate-limited", "share-full", "queue-full", "pool-exhausted", "pools-exhausted", "database-unavailable",
    "place-unprotected", "deadline-exceeded", "paused", "drained", "held-up", "killed",
)  # fmt: skip
"""Codes of errors for which somebody gets no connection."""

_VERBS = ("show", "pause", "resume", "drain", "reconnect", "kill")

PoolEvent = (
    ClockRead
    | ConnectionClosed
    | ConnectionOpened
    | DialFailed
    | PoolClosed
    | ProtectionLost
    | CheckoutRefused
    | GatesSet
    | OrderDone
)


class PoolMetrics:
    """Folds what happens to pools, and shows how full they are."""

    def __init__(self, book: Book) -> None:
        self._connections = book.gauge("tiergate_pool_connections", "Server connections.", ["tier", "state"])
        self._waiting = book.gauge("tiergate_pool_waiting", "Requests in line for a connection.", ["tier"])
        self._pools = book.gauge("tiergate_pools", "Pools that are open.", ["tier"])
        self._clusters = ClusterGauges(book)
        self._opened = book.counter_by_tier("tiergate_connections_opened_total", "Server connections opened.")
        self._dials_failed = book.counter_by_tier(
            "tiergate_dial_failures_total", "Server connections that could not be opened."
        )
        self._unprotected = book.counter_by_tier(
            "tiergate_protection_losses_total",
            "Times a place was found not to keep its tenants apart, and was not served.",
        )
        self._closed = book.counter(
            "tiergate_connections_closed_total", "Server connections closed.", ["tier", "reason"]
        )
        self._pools_closed = book.counter("tiergate_pools_closed_total", "Pools closed.", ["tier", "reason"])
        self._lookups = book.counter(
            "tiergate_pool_lookups_total",
            "Times a pool was asked for; it was open, or had to be made.",
            ["tier", "outcome"],
            [(tier, outcome) for tier in Tier for outcome in ("hit", "miss")],
        )
        self._looked_up: dict[tuple[Tier, str], int] = {}
        self._refused = book.counter(
            "tiergate_checkouts_refused_total",
            "Times a request of a known tenant got no connection, and why.",
            ["tier", "reason"],
            [(tier, reason) for tier in Tier for reason in REFUSALS],
        )
        self._closed_scopes = book.gauge(
            "tiergate_paused_scopes",
            "Tenants, pools and clusters that operators have paused or drained.",
            ["verb"],
            over="max",
        )
        for verb in ("pause", "drain"):
            self._closed_scopes.labels(verb).set(0)
        self._orders = book.counter(
            "tiergate_orders_total",
            "Orders of operators that processes have carried out.",
            ["verb"],
            [(verb,) for verb in _VERBS],
        )

    def __call__(self, event: PoolEvent) -> None:
        """Fold one event."""
        match event:
            case CheckoutRefused(tier=tier, reason=reason):
                self._refused.add((tier, reason))
            case ConnectionOpened(tier=tier):
                self._opened.add((tier,))
            case ConnectionClosed(tier=tier, reason=reason):
                self._closed.add((tier, reason))
            case DialFailed(tier=tier):
                self._dials_failed.add((tier,))
            case ProtectionLost(tier=tier):
                self._unprotected.add((tier,))
            case ClockRead(cluster=cluster, offset_s=offset_s):
                self._clusters.fold_clock(cluster, offset_s)
            case PoolClosed(tier=tier, reason=reason):
                self._pools_closed.add((tier, reason))
            case GatesSet(paused=paused, drained=drained):
                self._closed_scopes.labels("pause").set(paused)
                self._closed_scopes.labels("drain").set(drained)
            case OrderDone(verb=verb):
                self._orders.add((verb,))

    def refresh(self, now: PoolSnapshot) -> None:
        """Show what was counted."""
        for key, so_far in now.lookups.items():
            self._lookups.add(key, so_far - self._looked_up.get(key, 0))
            self._looked_up[key] = so_far
        counts = {count.tier: count for count in now.tiers}
        for tier in Tier:
            count = counts.get(tier)
            self._pools.labels(tier).set(count.pools if count else 0)
            self._waiting.labels(tier).set(count.waiting if count else 0)
            for state in ("active", "idle", "opening", "closing"):
                self._connections.labels(tier, state).set(getattr(count, state) if count else 0)
        self._clusters.refresh(now)
