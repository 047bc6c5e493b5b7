"""Trails turned into OpenTelemetry spans and sent by OTLP over HTTP; the only importer of OpenTelemetry.

All of it happens in a thread of its own. A receiver that is slow or gone costs spans, and no request
anything. Spans are made whole, afterwards: a request that runs pays for a list of moments only.

Source:
    OpenTelemetry semantic conventions 1.36, "HTTP spans", "Database spans" and "PostgreSQL".
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from observe.trails import Hop, Ran, Trail

MOST_TRAILS = 2_000
"""Requests that may wait for a slow receiver; of those beyond the spans are lost."""

# Made and written in one go while other threads stand by: 4 ms at most.
_BATCH = 16
_GATHER_S = 0.2
_SERVER_ERROR = 500
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILED = Status(StatusCode.ERROR)
_FINE = Status()

Attributes = dict[str, str | int]


class Shape(Protocol):
    """What is known of a statement's text."""

    @property
    def fingerprint(self) -> str:
        """The same for statements that differ in literals only."""

    @property
    def text(self) -> str:
        """Without literals."""


class Spans:
    """Sends spans, from a thread of its own.

    A context manager; leaving it sends what waits, for *close_s* at most. Threads do not survive a fork:
    open it in the process that uses it.

    Attributes:
        text: Which text of statements is sent: "none", "normalised" or "whole".
    """

    def __init__(
        self, endpoint: str, version: str, shape: Callable[[str], Shape | None],
        *, text: str = "none", timeout_s: float = 5.0, close_s: float = 2.0,
    ) -> None:  # fmt: skip
        """Send to *endpoint*, the whole URL. Headers and certificates: OTEL_EXPORTER_OTLP_… variables."""
        self.text = text
        self._shape = shape
        self._close_s = close_s
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=timeout_s)
        self._resource = Resource.create({"service.version": version}).merge(_named())
        self._scope = InstrumentationScope("tiergate", version)
        self._queue: queue.SimpleQueue[Trail | None] = queue.SimpleQueue()
        self._dropped = self._failed = self._told = 0
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join(self._close_s)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs says nothing

    def put(self, trail: Trail) -> None:
        """Have *trail* sent soon; never waits."""
        if self._queue.qsize() >= MOST_TRAILS:
            self._dropped += 1
        else:
            self._queue.put(trail)

    def take_lost(self) -> int:
        """How many requests have lost their spans since this was asked last."""
        lost = self._dropped + self._failed  # each is counted in one thread alone
        lost, self._told = lost - self._told, lost
        return lost

    # -- in the thread

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            trails = [self._queue.get()]
            until = time.monotonic() + _GATHER_S
            while trails[-1] is not None and len(trails) < _BATCH:
                try:
                    trails.append(self._queue.get(timeout=max(0.0, until - time.monotonic())))
                except queue.Empty:
                    break
            is_ending = trails[-1] is None
            self._send([trail for trail in trails if trail is not None])

    def _send(self, trails: list[Trail]) -> None:
        try:
            spans = [span for trail in trails for span in self._spans(trail)]
            is_sent = not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - whatever it is, the next ones are tried; the loss is told
            is_sent = False
        if not is_sent:
            self._failed += len(trails)

    def _spans(self, trail: Trail) -> Iterator[ReadableSpan]:
        answered, parent = trail.answered, trail.parent
        if answered is None:
            return
        state = TraceState.from_header([parent.state] if parent is not None and parent.state else [])

        def context(span_id: int, *, is_remote: bool = False) -> SpanContext:
            return SpanContext(trail.trace_id, span_id, is_remote, _SAMPLED, state)

        def span(
            name: str, at: SpanContext, parent: SpanContext | None, began_s: float, ended_s: float,
            attributes: Attributes, *, kind: SpanKind = SpanKind.INTERNAL, status: Status = _FINE,
        ) -> ReadableSpan:  # fmt: skip
            return ReadableSpan(
                name, at, parent, self._resource, attributes, kind=kind, status=status,
                start_time=trail.began_ns + int((began_s - trail.began_s) * 1e9),
                end_time=trail.began_ns + int((ended_s - trail.began_s) * 1e9),
                instrumentation_scope=self._scope,
            )  # fmt: skip

        whom: Attributes = {}
        for name, value in (
            ("tenant", answered.tenant), ("tier", answered.tier), ("cluster", answered.cluster),
        ):  # fmt: skip
            if value is not None:
                whom[f"tiergate.{name}"] = str(value)
        is_ok = answered.outcome == "ok"
        error: Attributes = {} if is_ok else {"error.type": answered.outcome}
        root = context(trail.span_id)
        caller = context(int(parent.span_id, 16), is_remote=True) if parent is not None else None
        yield span(
            "POST /sql", root, caller, trail.began_s, trail.began_s + answered.total_s,
            _REQUEST
            | {"http.response.status_code": answered.status, "tiergate.request_id": answered.request_id}
            | whom | error,
            kind=SpanKind.SERVER, status=_FAILED if answered.status >= _SERVER_ERROR else _FINE,
        )  # fmt: skip
        for number, hop in enumerate(trail.hops, 1):
            is_last = number == len(trail.hops)
            failed = {} if is_ok or not is_last else error
            at = context(hop.span_id)
            yield span(
                hop.name, at, root, hop.began_s, hop.ended_s, whom | failed,
                status=_FAILED if failed else _FINE,
            )  # fmt: skip
            for ran, told in self._statements(hop, trail if is_last else None):
                yield span(
                    str(told.get("db.operation.name", "statement")),
                    context(ran), at, hop.began_s, hop.ended_s, told | whom,
                    kind=SpanKind.CLIENT, status=_FAILED if "error.type" in told else _FINE,
                )  # fmt: skip

    def _statements(self, hop: Hop, failing: Trail | None) -> Iterator[tuple[int, Attributes]]:
        """An id and attributes for each statement that the server has run, or failed in.

        All go out and come back in one flight, so that each has the hop's own times.
        """
        error = failing.answered.error if failing is not None and failing.answered is not None else None
        index = getattr(error, "index", None)
        code = getattr(getattr(error, "error", None), "code", None)
        for number, ran in enumerate(hop.statements):
            if index is not None and number > index:
                return
            told: Attributes = {"db.system.name": "postgresql", "db.namespace": hop.database or ""}
            told |= self._said(ran)
            if index == number and code is not None:
                told |= {"db.response.status_code": code, "error.type": code}
            yield (hop.span_id + number + 1) % _IDS or 1, told

    def _said(self, ran: Ran) -> Attributes:
        told: Attributes = {}
        if ran.tag:
            told["db.operation.name"] = ran.tag.partition(" ")[0]
        if ran.rows is not None:
            told["db.response.returned_rows"] = ran.rows
        shape = self._shape(ran.text) if ran.text is not None else None
        if shape is not None:
            told["tiergate.statement.fingerprint"] = shape.fingerprint
        if self.text == "normalised" and shape is not None:
            told["db.query.text"] = shape.text
        if self.text == "whole" and ran.text is not None:
            told["db.query.text"] = ran.text
        return told


_IDS = 1 << 64
_REQUEST: Attributes = {
    "http.request.method": "POST", "http.route": "/sql", "url.path": "/sql", "url.scheme": "http",
}  # fmt: skip


def _named() -> Resource:
    """Our name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES give another."""
    given = Resource.create().attributes.get("service.name")
    is_default = not given or str(given).startswith("unknown_service")
    return Resource({"service.name": "tiergate"}) if is_default else Resource({})
