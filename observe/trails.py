"""What is kept of a request that is recorded: when it passed each hop, and what it ran.

A trail is made of plain values on the event loop; whoever exports it turns it into spans elsewhere. A
request that is not recorded has none.

Source:
    W3C Trace Context, level 2, section 3.2.2.5 "trace-flags".
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from observe.parents import Parent, traceparent
from tiergate.events import RequestAnswered

MOST_STATEMENTS = 50
"""Of one transaction; a batch may have 1,000."""
LONGEST_TEXT = 4096
_SAMPLED = 1
_IDS = 1 << 64


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement of a transaction.

    Attributes:
        text: As the caller wrote it; None when it is very long.
        tag, rows: What came of it, once it is known: "SELECT 3", and how many rows.
    """

    text: str | None
    tag: str | None = None
    rows: int | None = None


@dataclass(slots=True)
class Hop:
    """A part of a request's way, on the monotonic clock.

    Attributes:
        database: Where it ran.
        statements: What it ran; no more than 50.
        count: How many there were.
    """

    name: str
    began_s: float
    ended_s: float = 0.0
    span_id: int = 0
    database: str | None = None
    statements: tuple[Ran, ...] = ()
    count: int = 0


@dataclass(slots=True)
class Trail:
    """One request on its way.

    Attributes:
        parent: The caller's span; None when the trace begins here.
        comments: Whether its statements carry it into the database.
        export: Takes it when it is over; None where there will be no spans of it.
        answered: How it ended.
    """

    trace_id: int
    span_id: int
    began_s: float
    began_ns: int
    parent: Parent | None
    comments: bool
    export: "Callable[[Trail], None] | None"
    hops: list[Hop] = field(default_factory=list)
    answered: RequestAnswered | None = None

    def enter(self, name: str, *, before_s: float = 0.0) -> Hop:
        """The hop before is over, and *name* begins; *before_s* it was so already."""
        now_s = time.monotonic() - before_s
        self.leave(now_s)
        hop = Hop(name, now_s, span_id=_span_id())
        self.hops.append(hop)
        return hop

    def leave(self, now_s: float) -> None:
        """The last hop is over."""
        if self.hops and not self.hops[-1].ended_s:
            self.hops[-1].ended_s = now_s

    def work(self, database: str, texts: Sequence[str], *, dialled_s: float) -> None:
        """There is a connection, opened within the last *dialled_s*, and statements go out."""
        if dialled_s:
            self.enter("connect", before_s=dialled_s)
        hop = self.enter("database")
        hop.database, hop.count = database, len(texts)
        hop.statements = tuple(
            Ran(text if len(text) <= LONGEST_TEXT else None) for text in texts[:MOST_STATEMENTS]
        )

    def done(self, results: Iterable[tuple[str, int]]) -> None:
        """The statements have these command tags, and so many rows."""
        hop = self.hops[-1]
        hop.statements = tuple(
            Ran(ran.text, tag, rows) for ran, (tag, rows) in zip(hop.statements, results, strict=False)
        )

    def end(self, answered: RequestAnswered) -> None:
        """The request has its answer."""
        if self.export is not None:
            self.answered = answered
            self.leave(self.began_s + answered.total_s)  # not a moment after the request itself
            self.export(self)

    def traceparent(self) -> str:
        """Names the last hop, or whoever was before us where there are no spans of ours."""
        if self.export is not None or self.parent is None:
            span_id = self.hops[-1].span_id if self.hops else self.span_id
            return traceparent(f"{self.trace_id:032x}", f"{span_id:016x}", _SAMPLED)
        return traceparent(self.parent.trace_id, self.parent.span_id, self.parent.flags)

    def comment(self) -> bytes:
        """The same as SQL, to stand behind a statement, where that is wanted; holds nothing a caller wrote.

        Source:
            sqlcommenter specification, "Format".
        """
        if not self.comments:
            return b""
        return b" /*traceparent='%b'*/" % self.traceparent().encode()

    def header(self) -> tuple[bytes, bytes]:
        """What the answer says of its trace.

        Source:
            W3C Trace Context HTTP Response Headers Format, section 2.2 "Traceresponse Header Field".
        """
        whole = traceparent(f"{self.trace_id:032x}", f"{self.span_id:016x}", _SAMPLED)
        return (b"traceresponse", whole.encode())


@dataclass(slots=True)
class Tracer:
    """Decides which requests are recorded.

    Attributes:
        ratio: Share of the requests without a parent; of the others the parent has decided.
        comments: Whether statements of recorded requests carry the trace into the database.
        export: Takes what is recorded and never waits; None when only comments are wanted.
    """

    ratio: float
    comments: bool
    export: Callable[[Trail], None] | None = None

    def begin(self, began_s: float, parent: Parent | None) -> Trail | None:
        """The trail of a request that is recorded; None for the others."""
        if parent is not None:
            if not parent.is_sampled:
                return None
            trace_id = int(parent.trace_id, 16)
        elif self.export is None or random.random() >= self.ratio:  # noqa: S311 - no secret
            return None
        else:
            trace_id = random.randrange(1, _IDS * _IDS)  # noqa: S311 - the same
        offset_ns = time.time_ns() - time.monotonic_ns()
        began_ns = int(began_s * 1e9) + offset_ns
        return Trail(trace_id, _span_id(), began_s, began_ns, parent, self.comments, self.export)


def _span_id() -> int:
    return random.randrange(1, _IDS)  # noqa: S311 - no secret: it only has to be another one each time
