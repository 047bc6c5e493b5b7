"""Events folded into Prometheus metrics; `observe` is the only importer of `prometheus_client`.

Labels come from small closed sets, never from tenants or texts that a caller
chooses. A fold adds to plain numbers; `refresh` hands them on (see `observe.tally`).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from observe.affected import Affected
from observe.book import Book
from observe.clusters import worst
from observe.moves import MoveMetrics
from observe.outcomes import known_outcomes
from observe.pools import PoolMetrics
from observe.process import ProcessMetrics
from observe.processes import is_shared
from observe.registry import RegistryMetrics
from observe.replicas import ReplicaMetrics
from observe.requests import RequestMetrics
from observe.snapshot import PoolSnapshot
from observe.tenants import Look, TenantMetrics
from observe.usage import UsageMetrics
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
from tiergate.happenings.moves import MoveCopied, MoveCutOver, MoveFailed, MoveStepped
from tiergate.happenings.orders import GatesSet, OrderDone
from tiergate.happenings.refusals import CheckoutRefused, IsolationViolated, StatementBarred
from tiergate.happenings.registry import RegistryCounted
from tiergate.happenings.traces import SpansLost
from tiergate.happenings.usage import UsageLost, UsageWritten

# A series of its own for the moment of each counter's birth would double the answer, and nobody asks it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """What `/metrics` says.

    Call it with each event. With several processes (see `observe.processes`) each
    has its own `Metrics` and calls `refresh` every second, and any one's `render` speaks for all.

    Args:
        snapshot: Asked at each `refresh`; plain and quick.
        outcomes: How requests may end, shown as 0 before they first do; else `known_outcomes`.
        hits: By cache, how often it has answered from memory so far; too many to tell as events.
        inflight: How many requests are in hand now.
        look: What tenants have in hand that somebody asks for.

    Attributes:
        process: Measures what no event tells.
        tenants: Tells of one tenant at a time, apart from all this.
    """

    def __init__(
        self,
        snapshot: Callable[[], PoolSnapshot] = PoolSnapshot,
        outcomes: Iterable[str] | None = None,
        hits: Callable[[], Mapping[str, int]] = dict,
        inflight: Callable[[], int] = int,
        look: Look = lambda _wanted: {},
    ) -> None:
        self._snapshot = snapshot
        self._count_inflight = inflight
        self._book = book = Book()
        outcomes = known_outcomes() if outcomes is None else tuple(outcomes)
        self._requests = RequestMetrics(book, outcomes)
        self._affected = Affected(book, outcomes)
        self._inflight = book.gauge("tiergate_requests_inflight", "Requests in hand, waiting ones included.")
        self._pools = PoolMetrics(book)
        self._replicas = ReplicaMetrics(book)
        self._moves = MoveMetrics(book)
        self._usage = UsageMetrics(book)
        self._registry = RegistryMetrics(book, hits)
        self._loops_failed = book.counter(
            "tiergate_loop_failures_total", "Unexpected errors of background loops, which went on.", ["loop"]
        )
        self._spans_lost = book.counter(
            "tiergate_spans_lost_total",
            "Requests whose spans the receiver of traces does not have.",
            known=[()],
        )
        self.process = ProcessMetrics(book)
        self.tenants = TenantMetrics(outcomes, look)

    @property
    def registry(self) -> CollectorRegistry:
        """This process's own, of `prometheus_client`."""
        return self._book.registry

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case for each kind of event
        """Fold one event."""
        match event:
            case RequestAnswered():
                self._requests.fold(event)
                self.tenants.fold(event)
                if event.outcome != "ok" and event.tenant is not None and event.tier is not None:
                    self._affected.add(event.tenant, event.tier, event.outcome)
            case CacheAnswered():
                self._registry.fold_answer(event)
            case ProtectionLost():
                self._pools(event)
                self._requests.fold_doubt(event)
            case (
                CheckoutRefused()
                | ConnectionOpened()
                | ConnectionClosed()
                | DialFailed()
                | ClockRead()
                | PoolClosed()
                | GatesSet()
                | OrderDone()
            ):
                self._pools(event)
            case StaleRouteRefused() | StatementBarred() | IsolationViolated():
                self._requests.fold_doubt(event)
            case ServerLost() | ServerFound() | ClockOff():
                pass  # gauges show it
            case ReplicaMeasured() | ReplicaLost() | ReplicaFound() | StaleRead():
                self._replicas(event)
            case RegistryLost() | RegistryFound() | RegistryCounted() | AuditGrew() | AuditCut():
                self._registry(event)
            case MoveStepped() | MoveCutOver() | MoveFailed() | MoveCopied():
                self._moves(event)
            case UsageWritten() | UsageLost():
                self._usage(event)
            case SpansLost():
                self._spans_lost.add((), event.requests)
            case LoopFailed(loop=loop):
                self._loops_failed.add((loop,))
            case _:
                assert_never(event)

    def refresh(self) -> None:
        """Hand on what was added up, and set this process's gauges from a new snapshot."""
        self._requests.refresh()
        self._registry.refresh()
        self._affected.refresh()
        self.tenants.refresh()
        self.process.refresh()
        self._pools.refresh(self._snapshot())
        self._inflight.set(self._count_inflight())
        self._book.flush()

    def render(self) -> tuple[bytes, str]:
        """The body and content type of `/metrics`; reads files when there are several processes."""
        self.refresh()
        source = self.registry
        if is_shared():
            source = CollectorRegistry()
            source.register(_Everybody())
        return generate_latest(source), CONTENT_TYPE_LATEST

    async def show(self) -> tuple[bytes, str]:
        """What `render` gives, metric by metric, so that requests have their turns in between."""
        self.refresh()
        metrics = self.registry.collect()
        if is_shared():
            metrics = await asyncio.to_thread(lambda: list(_Everybody().collect()))
        parts = []
        for metric in metrics:
            await asyncio.sleep(0)
            one = CollectorRegistry()
            one.register(_One(metric))
            parts.append(generate_latest(one))
        return b"".join(parts), CONTENT_TYPE_LATEST


class _One(Collector):
    """A single metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """It alone."""
        return [self._metric]


class _Everybody(Collector):
    """What all processes of this gateway count."""

    def collect(self) -> Iterable[Metric]:
        """Read their files."""
        metrics = MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return worst(metrics)
