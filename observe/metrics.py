"""Events folded into Prometheus metrics; the only importer of `prometheus_client`.

Labels come from small closed sets, never from tenants or texts that a caller
chooses. A fold adds to plain numbers; `refresh` hands them on (see `observe.tally`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from observe.clusters import ClusterGauges
from observe.moves import MoveMetrics
from observe.outcomes import known_outcomes
from observe.processes import is_shared
from observe.replicas import ReplicaMetrics
from observe.snapshot import PoolSnapshot
from observe.tally import MOST_VALUES, CounterTally, HistogramTally
from tiergate.events import (
    AuditCut,
    AuditGrew,
    CacheAnswered,
    ClockOff,
    ClockRead,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    Event,
    LoopFailed,
    PoolClosed,
    ProtectionLost,
    RegistryFound,
    RegistryLost,
    ReplicaFound,
    ReplicaLost,
    ReplicaMeasured,
    RequestAnswered,
    ServerFound,
    ServerLost,
    StaleRead,
    StaleRouteRefused,
)
from tiergate.happenings.moves import MoveCutOver, MoveFailed, MoveStepped
from tiergate.happenings.orders import GatesSet, OrderDone
from tiergate.tenant import Tier

PHASES = ("auth", "queue", "connect", "database", "total")
# A series of its own for the moment of each counter's birth would double the answer, and nobody asks it.
disable_created_metrics()  # type: ignore[no-untyped-call]

CACHES = ("placement", "credential")
CACHE_OUTCOMES = ("hit", "miss", "negative", "stale")
UNKNOWN = "unknown"
"""Tier of a request whose tenant is not known."""

_BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip


class Metrics:
    """What `/metrics` says.

    Call it with each event. With several processes (see `observe.processes`) each
    has its own `Metrics` and calls `refresh` every second, and any one's `render` speaks for all.

    Args:
        snapshot: Asked at each `refresh`; plain and quick.
        outcomes: How requests may end, shown as 0 before they first do; else `known_outcomes`.
        hits: By cache, how often it has answered from memory so far; too many to tell as events.
        inflight: How many requests are in hand now.
    """

    def __init__(
        self,
        snapshot: Callable[[], PoolSnapshot] = PoolSnapshot,
        outcomes: Iterable[str] | None = None,
        hits: Callable[[], Mapping[str, int]] = dict,
        inflight: Callable[[], int] = int,
    ) -> None:
        self._snapshot = snapshot
        self._hits = hits
        self._hits_seen: dict[str, int] = {}
        self._count_inflight = inflight
        self.registry = CollectorRegistry()
        self._tallies: list[CounterTally | HistogramTally] = []
        self._make_request_metrics(known_outcomes() if outcomes is None else outcomes)
        self._make_pool_metrics()
        self._make_registry_metrics()
        self._replicas = ReplicaMetrics(self.registry)
        self._moves = MoveMetrics(self.registry)
        self._tallies += [self._replicas.reads, *self._moves.tallies]

    def _make_request_metrics(self, outcomes: Iterable[str]) -> None:
        tiers = (*Tier, UNKNOWN)
        self._requests = self._counter(
            "tiergate_requests_total",
            "Requests answered.",
            ["tier", "outcome"],
            [(tier, outcome) for tier in tiers for outcome in outcomes],
        )
        seconds = Histogram(
            "tiergate_request_seconds",
            "Where the time of a request went; a phase that did not occur is not counted.",
            ["tier", "phase"],
            registry=self.registry,
            buckets=_BUCKETS_S,
        )
        self._inflight = Gauge(
            "tiergate_requests_inflight",
            "Requests in hand, waiting ones included.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._seconds = {
            tier: tuple(HistogramTally(seconds.labels(tier, phase), _BUCKETS_S) for phase in PHASES)
            for tier in tiers
        }
        for phases in self._seconds.values():
            self._tallies.extend(phases)
        self._stale_routes = self._counter_by_tier(
            "tiergate_stale_routes_total",
            "Requests that a database's fence refused: the tenant is served elsewhere, or not at all.",
        )
        self._loops_failed = self._counter(
            "tiergate_loop_failures_total", "Unexpected errors of background loops, which went on.", ["loop"]
        )

    def _make_pool_metrics(self) -> None:
        self._connections = self._gauge("tiergate_pool_connections", "Server connections.", ["tier", "state"])
        self._waiting = self._gauge("tiergate_pool_waiting", "Requests in line for a connection.", ["tier"])
        self._pools = self._gauge("tiergate_pools", "Pools that are open.", ["tier"])
        self._clusters = ClusterGauges(self.registry)
        self._opened = self._counter_by_tier(
            "tiergate_connections_opened_total", "Server connections opened."
        )
        self._dials_failed = self._counter_by_tier(
            "tiergate_dial_failures_total", "Server connections that could not be opened."
        )
        self._unprotected = self._counter_by_tier(
            "tiergate_protection_losses_total",
            "Times a place was found not to keep its tenants apart, and was not served.",
        )
        self._closed = self._counter(
            "tiergate_connections_closed_total", "Server connections closed.", ["tier", "reason"]
        )
        self._pools_closed = self._counter("tiergate_pools_closed_total", "Pools closed.", ["tier", "reason"])
        self._closed_scopes = Gauge(
            "tiergate_paused_scopes",
            "Tenants, pools and clusters that operators have paused or drained.",
            ["verb"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        for verb in ("pause", "drain"):
            self._closed_scopes.labels(verb).set(0)
        self._orders = self._counter(
            "tiergate_orders_total",
            "Orders of operators that processes have carried out.",
            ["verb"],
            [(verb,) for verb in ("show", "pause", "resume", "drain", "reconnect", "kill")],
        )

    def _make_registry_metrics(self) -> None:
        self._cache = self._counter(
            "tiergate_registry_cache_total",
            "Questions to the cache of the registry.",
            ["cache", "outcome"],
            [(cache, outcome) for cache in CACHES for outcome in CACHE_OUTCOMES],
        )
        self._registry_up = Gauge(
            "tiergate_registry_up",
            "1 while the registry answers and notifies, 0 while cached answers serve.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._registry_up.set(1)
        self._audit_entries = Gauge(
            "tiergate_audit_entries",
            "Entries of the audit, as far as this gateway has seen.",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._audit_cuts = Counter(
            "tiergate_audit_cuts_total",
            "Times the audit ended before an entry that this gateway had seen there.",
            registry=self.registry,
        )

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode="livesum")

    def _counter(
        self, name: str, text: str, labels: list[str], known: Iterable[tuple[str, ...]] = ()
    ) -> CounterTally:
        tally = CounterTally(Counter(name, text, labels, registry=self.registry), known)
        self._tallies.append(tally)
        return tally

    def _counter_by_tier(self, name: str, text: str) -> CounterTally:
        return self._counter(name, text, ["tier"], [(tier,) for tier in Tier])

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case for each kind of event
        """Fold one event."""
        match event:
            case RequestAnswered():
                self._fold_request(event)
            case CacheAnswered(cache=cache, outcome=outcome):
                self._cache.add((cache, outcome))
            case ConnectionOpened(tier=tier):
                self._opened.add((tier,))
            case ConnectionClosed(tier=tier, reason=reason):
                self._closed.add((tier, reason))
            case DialFailed(tier=tier):
                self._dials_failed.add((tier,))
            case ProtectionLost(tier=tier):
                self._unprotected.add((tier,))
            case ServerLost() | ServerFound():
                pass  # the snapshot has it
            case ClockRead(cluster=cluster, offset_s=offset_s):
                self._clusters.fold_clock(cluster, offset_s)
            case ClockOff():
                pass  # the gauge shows it
            case PoolClosed(tier=tier, reason=reason):
                self._pools_closed.add((tier, reason))
            case ReplicaMeasured() | ReplicaLost() | ReplicaFound() | StaleRead():
                self._replicas(event)
            case StaleRouteRefused(tier=tier):
                self._stale_routes.add((tier,))
            case RegistryLost():
                self._registry_up.set(0)
            case RegistryFound():
                self._registry_up.set(1)
            case AuditGrew(entries=entries):
                self._audit_entries.set(entries)
            case AuditCut():
                self._audit_cuts.inc()
            case GatesSet(paused=paused, drained=drained):
                self._closed_scopes.labels("pause").set(paused)
                self._closed_scopes.labels("drain").set(drained)
            case OrderDone(verb=verb):
                self._orders.add((verb,))
            case MoveStepped() | MoveCutOver() | MoveFailed():
                self._moves(event)
            case LoopFailed(loop=loop):
                self._loops_failed.add((loop,))
            case _:
                assert_never(event)

    def _fold_request(self, event: RequestAnswered) -> None:
        tier = event.tier or UNKNOWN
        self._requests.add((tier, event.outcome))
        auth, queue, connect, database, total = self._seconds[tier]
        if event.auth_s:
            auth.add(event.auth_s)
        if event.queue_s or event.database_s:
            # Whoever reached the database stood in line, be it for no time at all.
            queue.add(event.queue_s)
        if event.connect_s:
            connect.add(event.connect_s)
        if event.database_s:
            database.add(event.database_s)
        total.add(event.total_s)

    def refresh(self) -> None:
        """Hand on what was added up, and set this process's gauges from a new snapshot."""
        for cache, hits in self._hits().items():
            self._cache.add((cache, "hit"), hits - self._hits_seen.get(cache, 0))
            self._hits_seen[cache] = hits
        for tally in self._tallies:
            tally.flush()
        self._inflight.set(self._count_inflight())
        now = self._snapshot()
        counts = {count.tier: count for count in now.tiers}
        for tier in Tier:
            count = counts.get(tier)
            self._pools.labels(tier).set(count.pools if count else 0)
            self._waiting.labels(tier).set(count.waiting if count else 0)
            for state in ("active", "idle", "opening", "closing"):
                self._connections.labels(tier, state).set(getattr(count, state) if count else 0)
        self._clusters.refresh(now.budgets[:MOST_VALUES])

    def render(self) -> tuple[bytes, str]:
        """The body and content type of `/metrics`; reads files when there are several processes."""
        self.refresh()
        source = self.registry
        if is_shared():
            source = CollectorRegistry()
            MultiProcessCollector(source)  # type: ignore[no-untyped-call]
        return generate_latest(source), CONTENT_TYPE_LATEST
