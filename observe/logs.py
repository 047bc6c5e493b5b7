"""Events, and what libraries log, as one JSON object a line on standard error.

Never a secret, never SQL, never a row's value: an event carries none, and texts that others
wrote are scrubbed.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal, assert_never

from observe.lines import LineWriter
from observe.scrub import frames, scrub
from tiergate.errors import TiergateError
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

Level = Literal["debug", "info", "warning", "error"]
Requests = Literal["none", "failed", "all"]

MOST_PER_S = 10
"""Lines a second of one kind and code; the rest are counted and told once the second is over."""

_WEIGHT: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SERVER_ERROR = 500  # HTTP: from here on it is our fault, not the caller's


class Log:
    """Says what happened; call it with each event.

    `level`, `requests` and `slow_s` may be set while running.

    Args:
        level: What weighs less is left out.
        requests: "failed" leaves out answered requests unless they took `slow_s`; "none" leaves out all.
        slow_s: An answered request that took longer is told as a warning.
    """

    def __init__(
        self,
        writer: LineWriter,
        *,
        level: Level = "info",
        requests: Requests = "failed",
        slow_s: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self.level: Level = level
        self.requests: Requests = requests
        self.slow_s = slow_s
        self._now = now
        self._window_ends_s = 0.0
        self._told: dict[tuple[str, str], int] = {}

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915 - one case for each kind of event
        """Tell one event, if it is to be told."""
        match event:
            case RequestAnswered():
                self._tell_request(event)
            case CacheAnswered() | ClockRead() | ReplicaMeasured() | StaleRead() | RegistryCounted():
                pass  # a matter for metrics only; the first happens twice in each request
            case CheckoutRefused() | StatementBarred() | MoveCopied() | UsageWritten():
                pass  # the request's line says why, and the move's progress how far
            case ConnectionOpened(cluster, tier, took_s):
                self.say("debug", "connection-opened", cluster=cluster, tier=tier, ms=_ms(took_s))
            case ConnectionClosed(cluster, tier, reason):
                self.say("debug", "connection-closed", cluster=cluster, tier=tier, reason=reason)
            case DialFailed(cluster, tier, error):
                self._limit("warning", "dial-failed", cluster, cluster=cluster, tier=tier, error=scrub(error))
            case ProtectionLost(place, cluster, tier, reason):
                self._limit(
                    "error", "protection-lost", place, place=place, cluster=cluster, tier=tier, reason=reason
                )
            case IsolationViolated(tenant, tier, cluster, kind, reason):
                facts = {"kind": kind, "tenant": tenant, "tier": tier, "reason": scrub(reason)}
                self._limit("error", "isolation-violated", kind, cluster=cluster, **facts)
            case ServerLost(cluster, error):
                self._limit("error", "server-lost", cluster, cluster=cluster, error=scrub(error))
            case ServerFound(cluster, after_s):
                self._limit("info", "server-found", cluster, cluster=cluster, after_ms=_ms(after_s))
            case ClockOff(cluster, offset_s, jumped_s):
                offsets = {"offset_s": round(offset_s, 3), "jumped_s": round(jumped_s, 3)}
                self._limit("warning", "clock-off", cluster, cluster=cluster, **offsets)
            case PoolClosed(cluster, tier, reason):
                self.say("debug", "pool-closed", cluster=cluster, tier=tier, reason=reason)
            case ReplicaLost(cluster, replica, error):
                said = scrub(error)
                self._limit("warning", "replica-lost", cluster, cluster=cluster, replica=replica, error=said)
            case ReplicaFound(cluster, replica):
                self._limit("info", "replica-found", cluster, cluster=cluster, replica=replica)
            case StaleRouteRefused(tenant, tier, state):
                self._limit("info", "stale-route-refused", state, tenant=tenant, tier=tier, fence_state=state)
            case RegistryLost(error):
                self._limit("error", "registry-lost", "", error=scrub(error))
            case RegistryFound():
                self._limit("info", "registry-found", "")
            case AuditGrew(entries, head, act):
                self.say("info", "audit", entry=entries, act=act, head=head)
            case AuditCut(known, found):
                self.say("error", "audit-cut", known=known, found=found)
            case GatesSet() | OrderDone():
                self._tell_order(event)
            case MoveStepped() | MoveCutOver() | MoveFailed():
                self._tell_move(event)
            case UsageLost(requests):
                self._limit("error", "usage-lost", "", requests=requests)
            case SpansLost(requests):
                self.say("warning", "spans-lost", requests=requests)
            case LoopFailed(loop, error):
                self._limit("error", "loop-failed", loop, loop=loop, error=scrub(error))
            case _:
                assert_never(event)

    def _tell_order(self, event: GatesSet | OrderDone) -> None:
        match event:
            case GatesSet(paused, drained):
                self.say("info", "gates", paused=paused, drained=drained)
            case OrderDone(order, verb, scope, actor, took_s):
                told = {"verb": verb, "scope": scope, "actor": actor}
                self.say("info", "order-done", order=order, **told, ms=_ms(took_s))

    def _tell_move(self, event: MoveStepped | MoveCutOver | MoveFailed) -> None:
        told: dict[str, object] = {"move": event.move, "tenant": event.tenant}
        match event:
            case MoveStepped(state=state):
                self.say("info", "move-stepped", **told, state=state)
            case MoveCutOver(tier=tier, pause_s=pause_s, locked_s=locked_s, keys=keys):
                took = {"ms": _ms(pause_s), "locked_ms": _ms(locked_s)}
                self.say("info", "move-cut-over", **told, tier=tier, keys=keys, **took)
            case MoveFailed(move, _, state, outcome, error, is_retried):
                told |= {"state": state, "outcome": outcome, "retried": is_retried, "error": scrub(error)}
                self._limit("warning", "move-failed", move, **told)

    def _tell_request(self, event: RequestAnswered) -> None:
        self._end_window()
        if self.requests == "none":
            return
        if event.outcome != "ok":
            level: Level = "error" if event.status >= _SERVER_ERROR else "warning"
            self._limit(level, "request", event.outcome, **_request_facts(event))
        elif event.total_s > self.slow_s:
            self._limit("warning", "request", "slow", **_request_facts(event), slow=True)
        elif self.requests == "all":
            self.say("info", "request", **_request_facts(event))

    def say(self, level: Level, event: str, **facts: object) -> None:
        """Write one line; *facts* are plain values, and hold no secret and no SQL."""
        if _WEIGHT[level] >= _WEIGHT[self.level]:
            self._writer.write({"time": datetime.now(UTC), "level": level, "event": event, **facts})

    def _limit(self, level: Level, event: str, code: str, **facts: object) -> None:
        if _WEIGHT[level] < _WEIGHT[self.level]:
            return
        self._end_window()
        told = self._told.get((event, code), 0)
        self._told[event, code] = told + 1
        if told < MOST_PER_S:
            self.say(level, event, **facts)

    def _end_window(self) -> None:
        now_s = self._now()
        if now_s < self._window_ends_s:
            return
        self._window_ends_s = now_s + 1.0
        told, self._told = self._told, {}
        for (event, code), count in told.items():
            if count > MOST_PER_S:
                self.say("warning", "suppressed", of=event, code=code, count=count - MOST_PER_S)

    def flush(self) -> None:
        """Tell what was suppressed, if the second is over; for a loop that runs now and then."""
        self._end_window()

    @contextmanager
    def bridge(self) -> Iterator[None]:
        """Meanwhile, what libraries log from warnings upwards goes here, and nowhere else."""
        root = logging.getLogger()
        kept, kept_level = root.handlers[:], root.level
        bridge = _Bridge(self)
        root.handlers[:] = [bridge]
        root.setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)
        try:
            yield
        finally:
            logging.captureWarnings(capture=False)
            root.handlers[:] = kept
            root.setLevel(kept_level)


class _Bridge(logging.Handler):
    """Hands records of the standard library's logging to a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        message = record.getMessage()
        facts: dict[str, object] = {}
        if record.exc_info and (error := record.exc_info[1]) is not None:
            # The words of an exception may quote SQL or values; its kind and place may not.
            message = message.partition("\n")[0].replace(str(error) or "\n", type(error).__name__)
            facts = {"exception": type(error).__name__, "frames": frames(error)}
        self._log._limit(level, "log", record.name, logger=record.name, message=scrub(message), **facts)  # noqa: SLF001 - one class in two parts


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _request_facts(event: RequestAnswered) -> dict[str, object]:
    return {
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "tenant": event.tenant,
        "tier": event.tier,
        "outcome": event.outcome,
        "status": event.status,
        "ms": _ms(event.total_s),
        "auth_ms": _ms(event.auth_s),
        "queue_ms": _ms(event.queue_s),
        "connect_ms": _ms(event.connect_s),
        "database_ms": _ms(event.database_s),
        "rows": event.rows,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        **_cause(event.error),
    }


def _cause(error: Exception | None) -> dict[str, object]:
    """What operators may know of a refusal, and callers may not: its reason, or where it came from."""
    if error is None:
        return {}
    if not isinstance(error, TiergateError):
        return {"exception": type(error).__name__, "frames": frames(error)}
    reason = getattr(error, "reason", None)
    return {"reason": scrub(reason)} if isinstance(reason, str) else {}
