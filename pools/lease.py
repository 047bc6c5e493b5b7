"""One connection, one tenant, one transaction."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from pools.answers import GOOD, check, distrust, is_out_of_time, is_stale, is_thwarted
from pools.binding import LONGEST_LIFE_S, bind
from pools.clock import Clock
from pools.errors import DeadlineExceeded
from pools.flight import Answer
from pools.result import Result, Sink, Spout, result
from pools.statement import Fenced, Reach, Renaming, Statement, fence
from pools.wire import Wire
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_MOST_AT_ONCE = 4096  # characters that are fenced while the event loop waits
# The server gives up this much before we do, so that its clear error arrives and the connection lives on.
_SERVER_FIRST_S = 0.1
# A token that goes through a pooler lives no longer than this, unless it was seen to wait longer there.
_POOLED_LIFE_S = 5.0
_PAUSES_S = (0.005, 0.02, 0.05, 0.1, 0.2)  # at most, before each further try


class Isolation(StrEnum):
    """Postgres's transaction isolation levels, as SQL spells them."""

    READ_UNCOMMITTED = "READ UNCOMMITTED"
    READ_COMMITTED = "READ COMMITTED"
    REPEATABLE_READ = "REPEATABLE READ"
    SERIALIZABLE = "SERIALIZABLE"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What runs together, in order, or not at all.

    Attributes:
        isolation: None for READ COMMITTED, the default of the request's login.
        max_staleness_s: How old what is read may be; None for what holds now. Of read-only ones alone.
        note: An SQL comment to stand behind each statement, of our own making; such a statement is not
            prepared, and does not take the place of one that is.
    """

    statements: Sequence[Statement]
    isolation: Isolation | None = None
    read_only: bool = False
    deferrable: bool = False
    max_staleness_s: float | None = None
    note: bytes = b""

    def begin(self) -> bytes:
        """The statement that opens it."""
        words = ["BEGIN"]
        if self.isolation is not None:
            words.append(f"ISOLATION LEVEL {self.isolation}")
        if self.read_only:
            words.append("READ ONLY")
        if self.deferrable:
            words.append("DEFERRABLE")
        return " ".join(words).encode()


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one transaction may take.

    Attributes:
        statement_timeout_s: For each statement, at the server. Of a stream the time counts in which we wait
            for the server, not that in which the server waits for the caller.
        max_bytes: Of all answers together, on the wire; of a stream, for each row.
        schemas: Names under which statements may write the application's schema.
        full_sql: Whether any statement may be sent, not only queries and changes of rows.
    """

    statement_timeout_s: float
    max_bytes: int
    schemas: frozenset[str] = frozenset({"public"})
    full_sql: bool = False


async def run(
    wire: Wire, clock: Clock, placement: Placement, transaction: Transaction, limits: RequestLimits,
    deadline: Deadline,
) -> list[Result]:  # fmt: skip
    """Run *transaction* as *placement*'s tenant on *wire*, in one network round trip.

    When the server minds a plan or our time, nothing has run: it is asked once more, after two others.
    When another transaction was in the way, nothing has taken effect: it is asked again, 5 times at most.

    Args:
        clock: The server's.

    Returns:
        1 result for each statement, in order. They are handed out only once COMMIT has succeeded.

    Raises:
        StatementRefused: Nothing was sent.
        StatementFailed: Postgres refused a statement or the commit; nothing took effect.
        StaleRoute: The database does not serve this tenant at this epoch; nothing ran.
        ContextRefused: The database does not know our signature; nothing ran.
        DeadlineExceeded: Whether it took effect is unknown; the wire is broken.
        ConnectionLost: The same.
        ResponseTooLarge: The same: the server may have committed while its answers were on their way.
    """
    answers = await _ask(wire, clock, placement, transaction, limits, deadline)
    return [result(answer) for answer in answers[2:-2]]


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the rows of a transaction go while they come, and until when.

    Attributes:
        ends: Of the whole stream; the request's own deadline is for what comes before.
    """

    sink: Sink
    ends: Deadline


async def stream(
    wire: Wire, clock: Clock, placement: Placement, transaction: Transaction, limits: RequestLimits,
    deadline: Deadline, *, to: Stream,
) -> None:  # fmt: skip
    """As `run`, but all goes to the sink while it comes, at the sink's pace, and is committed after that.

    It is asked again only as long as the sink has handed nothing on. Until the commit is asked for, which is
    when the sink has had everything, no error leaves anything in effect.

    Raises:
        StatementFailed: As `run`; rows may have gone to the sink, and nothing took effect.
        DeadlineExceeded: The server had us wait too long in one statement, or the stream's time is over.
        ResponseTooLarge: A single row is larger than it may be.
    """
    try:
        async with asyncio.timeout_at(to.ends.at_s):
            await _ask(wire, clock, placement, transaction, limits, deadline, to=to)
    except TimeoutError as exc:
        raise DeadlineExceeded("database") from exc


async def _ask(
    wire: Wire, clock: Clock, placement: Placement, transaction: Transaction, limits: RequestLimits,
    deadline: Deadline, *, to: Stream | None = None,
) -> list[Answer]:  # fmt: skip
    renaming = Renaming(limits.schemas, placement.place.schema)
    reach = _reach(placement, transaction, limits)
    fenced = await _fence(transaction, renaming, reach, deadline)
    fly = partial(_fly, wire, clock, placement, transaction, fenced, limits=limits, deadline=deadline, to=to)
    # A function of the tenant's own may PREPARE something else under the name of our BEGIN READ ONLY.
    is_exposed = limits.full_sql and transaction.read_only
    if is_exposed or any(text.is_free for text in fenced):
        wire.doubtful = True  # no reset is as sure as a close
    answers = await fly()
    if is_out_of_time(answers):
        await wire.roll_back(until=deadline.at_s)
        await clock.read(wire, until=deadline.at_s)
        answers = await fly(life_s=LONGEST_LIFE_S)
    has_begun = to is not None and to.sink.has_begun
    if not (is_exposed or has_begun) and is_stale(wire, fenced, answers):
        for text in fenced:  # the first stale plan has kept us from seeing the others
            wire.forget(text.sql)
        await wire.roll_back(until=deadline.at_s)
        answers = await fly()
    for pause_s in _PAUSES_S:
        has_begun = to is not None and to.sink.has_begun
        if has_begun or not is_thwarted(answers) or wire.doubtful:
            break
        if placement.place.replica is not None:
            break  # what is in the way is what the standby replays; the cluster can do without waiting
        if deadline.left_s() < pause_s + 2 * _SERVER_FIRST_S:
            break
        if wire.in_transaction:
            await wire.roll_back(until=deadline.at_s)
        await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret: two shall not meet again
        answers = await fly()
    check(wire, placement, fenced, answers)
    return answers


async def _fence(
    transaction: Transaction, renaming: Renaming, reach: Reach, deadline: Deadline
) -> list[Fenced]:
    """Each statement behind its fence; others have a turn after 4,096 characters, which take up to 5 ms."""
    fenced: list[Fenced] = []
    at_once = 0
    for statement in transaction.statements:
        at_once += len(statement.text)
        if at_once > _MOST_AT_ONCE:
            at_once = 0
            if not deadline.left_s():
                raise DeadlineExceeded("queue")
            fenced.append(await asyncio.to_thread(fence, statement.text, renaming, reach))
        else:
            fenced.append(fence(statement.text, renaming, reach))
    return fenced


def _reach(placement: Placement, transaction: Transaction, limits: RequestLimits) -> Reach:
    """Which statements are sent. Plans tell estimates over all rows: not where it is shared.

    What leaves something behind is undone by closing the connection; ours to a pooler is not the server's.
    """
    if placement.tier is Tier.STANDARD:
        return Reach.QUERIES
    is_free = limits.full_sql and not transaction.read_only and not placement.place.via_pgbouncer
    return Reach.ANYTHING if is_free else Reach.PLANS


async def _fly(
    wire: Wire, clock: Clock, placement: Placement, transaction: Transaction, fenced: list[Fenced],
    *, limits: RequestLimits, deadline: Deadline, to: Stream | None, life_s: float = _POOLED_LIFE_S,
) -> list[Answer]:  # fmt: skip
    left_s = deadline.left_s()
    timeout_s = min(limits.statement_timeout_s, left_s - _SERVER_FIRST_S)
    if timeout_s <= 0:
        raise DeadlineExceeded("queue")
    if to is not None:  # at the server the time counts in which it waits for us, too
        timeout_s = to.ends.left_s() - _SERVER_FIRST_S
    binding = bind(
        placement, pid=wire.pid, now_s=clock.now_s(), timeout_ms=max(1, int(timeout_s * 1000)),
        life_s=min(left_s, life_s) + clock.error_s,
    )  # fmt: skip
    wire.ask(transaction.begin())
    wire.ask(binding.sql, binding.params)
    for text, statement in zip(fenced, transaction.statements, strict=True):
        wire.ask(text.sql, statement.params, rows=True, note=transaction.note)
    if to is None:
        _end(wire)
        answers = await wire.fly(max_bytes=limits.max_bytes, until=deadline.at_s)
    else:
        answers = await _pour(wire, limits, to)
    distrust(wire, answers)
    return answers


def _end(wire: Wire) -> None:
    wire.ask(b"COMMIT")
    wire.ask(b"RESET ALL")  # what a function or trigger of the application has SET


async def _pour(wire: Wire, limits: RequestLimits, to: Stream) -> list[Answer]:
    """What was asked for in one flight, and only when the sink has had all of it the commit in another.

    A server that waits to send hears no cancel, and one between two statements forgets it: a COMMIT that
    was sent with the rest would be run for a caller who has long gone.
    """
    patience_s = limits.statement_timeout_s
    answers = await wire.stream(Spout(to.sink).take, max_bytes=limits.max_bytes, patience_s=patience_s)
    if answers[-1][-1].status not in GOOD:
        return [*answers, answers[-1], answers[-1]]  # as if the rest had been skipped
    _end(wire)
    until = min(to.ends.at_s, Deadline.after(patience_s).at_s)
    return answers + await wire.fly(max_bytes=limits.max_bytes, until=until)
