"""How far one request has come: what its answer's headers and its event say of it."""

import random
import time
from dataclasses import dataclass, field, replace

from observe.parents import Parent, parent_of
from observe.trails import Tracer, Trail
from pools.lease import Transaction
from pools.loan import Lease
from pools.result import Result
from registry.placement import Placement
from router.asgi import Headers, Scope
from router.identify import Caller
from router.lines import Lines
from router.replicas import Read
from tiergate.events import RequestAnswered


@dataclass(slots=True)
class Course:
    """One request on its way; times are in seconds.

    Attributes:
        began: On the monotonic clock.
        rows, bytes_in, bytes_out: As of `tiergate.events.RequestAnswered`, without what is streamed.
        echoes: Headers of the request that the answer repeats.
        lines: The answer, where it is streamed.
        read: Of a request that accepts staleness.
        parent: Of a request that is part of a trace.
        trail: Of one that is recorded.
    """

    began: float
    request_id: str
    caller: Caller | None = None
    placement: Placement | None = None
    auth_s: float = 0.0
    queue_s: float = 0.0
    connect_s: float = 0.0
    database_s: float = 0.0
    encode_s: float = 0.0
    round_trips: int = 0
    rows: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    echoes: list[tuple[bytes, bytes]] = field(default_factory=list)
    lines: Lines | None = None
    read: Read | None = None
    parent: Parent | None = None
    trail: Trail | None = None

    def headers(self, cors: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What every answer carries, besides its content type."""
        request_id = self.request_id.encode()
        times_ms = (self.auth_s * 1e3, self.queue_s * 1e3, self.connect_s * 1e3, self.database_s * 1e3)
        headers = [
            (b"neon-request-id", request_id),
            (b"tiergate-request-id", request_id),
            (
                b"server-timing",
                b"auth;dur=%.2f, queue;dur=%.2f, connect;dur=%.2f, database;dur=%.2f" % times_ms,
            ),
            *cors,
            *self.echoes,
        ]
        if self.read is not None:
            headers += self.read.headers()
        if self.trail is not None and self.trail.export is not None:
            headers.append(self.trail.header())
        if self.placement is not None:
            headers.append((b"tiergate-route", route_header(self.placement)))
        return headers

    def ended(self, outcome: str, status: int, error: Exception | None) -> RequestAnswered:
        """That the request has its answer now."""
        lines = self.lines
        answered = RequestAnswered(
            request_id=self.request_id,
            tenant=self.caller.tenant if self.caller else None,
            tier=self.placement.tier if self.placement else None,
            outcome=outcome,
            status=status,
            auth_s=self.auth_s,
            queue_s=self.queue_s,
            connect_s=self.connect_s,
            database_s=self.database_s,
            total_s=time.monotonic() - self.began,
            error=error,
            cluster=self.placement.place.cluster if self.placement else None,
            rows=self.rows if lines is None else lines.row_count,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out if lines is None else self.bytes_out + lines.sent_bytes,
            stalled_s=0.0 if lines is None else lines.stalled_s,
            encode_s=self.encode_s,
            round_trips=self.round_trips,
            trace_id=self.trace_id(),
        )
        if self.trail is not None:
            self.trail.end(answered)
        return answered

    def enter(self, hop: str) -> float:
        """The request comes to this hop; when, on the monotonic clock."""
        if self.trail is not None:
            self.trail.enter(hop)
        return time.monotonic()

    def sent(self, lease: Lease, transaction: Transaction) -> Transaction:
        """*transaction* as it goes out, now that *lease* has a connection."""
        if self.trail is None:
            return transaction
        texts = [each.text for each in transaction.statements]
        self.trail.work(lease.placement.place.database, texts, dialled_s=lease.connect_s)
        return replace(transaction, note=self.trail.comment())

    def came(self, results: list[Result]) -> list[Result]:
        """These *results* came from the database."""
        if self.trail is not None:
            self.trail.done((result.command_tag, len(result.rows)) for result in results)
        return results

    def trace_id(self) -> str | None:
        """Of the trace that it is a part of, whether it is recorded or not."""
        if self.trail is not None:
            return f"{self.trail.trace_id:032x}"
        return self.parent.trace_id if self.parent is not None else None


def begin(scope: Scope, headers: Headers, tracer: Tracer | None) -> Course:
    """A request begins, perhaps as part of a trace."""
    course = Course(time.monotonic(), new_id())
    if headers.get(b"traceparent") is not None:
        course.parent = parent_of(scope["headers"])
    if tracer is not None:
        course.trail = tracer.begin(course.began, course.parent)
    return course


def route_header(placement: Placement) -> bytes:
    """What `tiergate-route` says of a placement."""
    return f"tier={placement.tier}; cluster={placement.place.cluster}".encode()


def new_id() -> str:
    """A random UUID, in a quarter of the time that `uuid.uuid4` takes.

    Not counted up: the difference of two would tell a caller how much the others ask.
    """
    digits = f"{random.getrandbits(128):032x}"  # no secret: it only has to be another one each time
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
