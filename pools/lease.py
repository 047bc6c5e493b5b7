"""One connection, one tenant, one transaction."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import NoReturn

from psycopg import pq

from pools.binding import LONGEST_LIFE_S, bind
from pools.clock import Clock
from pools.errors import (
    ConnectionLost,
    ContextRefused,
    DatabaseUnavailable,
    DeadlineExceeded,
    PgError,
    StaleRoute,
    StatementFailed,
)
from pools.result import Result, command_tag, pg_error, result
from pools.statement import Fenced, Reach, Renaming, Statement, fence
from pools.wire import Answer, Wire
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_GOOD = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_CHUNK})
_FATAL = pq.ExecStatus.FATAL_ERROR
_MOST_AT_ONCE = 4096  # characters that are fenced while the event loop waits
_COMMITTED, _RESET = frozenset({b"", b"COMMIT"}), frozenset({b"", b"RESET"})
# What leaves nothing behind; empty when it failed.
_TAGS = frozenset({b"", b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"EXPLAIN"})
# The server gives up this much before we do, so that its clear error arrives and the connection lives on.
_SERVER_FIRST_S = 0.1
# A token that goes through a pooler lives no longer than this, unless it was seen to wait longer there.
_POOLED_LIFE_S = 5.0
# The tenant's lock was not had in time: a move or a change of its fence holds it.
_LOCK_WAITS = frozenset({"55P03", "57014"})
_STALE_PLAN = frozenset({("0A000", "RevalidateCachedQuery"), ("26000", "FetchPreparedStatement")})


# Another transaction was in the way; the server asks for this one again. Under SERIALIZABLE it may be another
# tenant's: Postgres watches pages of indexes and, for small tables, whole tables, and knows no tenants there.
_THWARTED = frozenset({"40001", "40P01"})
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
    """

    statements: Sequence[Statement]
    isolation: Isolation | None = None
    read_only: bool = False
    deferrable: bool = False

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
        statement_timeout_s: For each statement, at the server.
        max_bytes: Of all answers together, on the wire.
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
    renaming = Renaming(limits.schemas, placement.place.schema)
    reach = _reach(placement, transaction, limits)
    fenced = await _fence(transaction, renaming, reach, deadline)
    fly = partial(_fly, wire, clock, placement, transaction, fenced, limits=limits, deadline=deadline)
    # A function of the tenant's own may PREPARE something else under the name of our BEGIN READ ONLY.
    is_exposed = limits.full_sql and transaction.read_only
    if is_exposed or any(text.is_free for text in fenced):
        wire.doubtful = True  # no reset is as sure as a close
    answers = await fly()
    if _is_out_of_time(answers):
        await wire.roll_back(until=deadline.at_s)
        await clock.read(wire, until=deadline.at_s)
        answers = await fly(life_s=LONGEST_LIFE_S)
    if not is_exposed and _is_stale(wire, fenced, answers):
        for text in fenced:  # the first stale plan has kept us from seeing the others
            wire.forget(text.sql)
        await wire.roll_back(until=deadline.at_s)
        answers = await fly()
    for pause_s in _PAUSES_S:
        if not _is_thwarted(answers) or wire.doubtful or deadline.left_s() < pause_s + 2 * _SERVER_FIRST_S:
            break
        if wire.in_transaction:
            await wire.roll_back(until=deadline.at_s)
        await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret: two shall not meet again
        answers = await fly()
    return _results(wire, placement, fenced, answers)


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
    *, limits: RequestLimits, deadline: Deadline, life_s: float = _POOLED_LIFE_S,
) -> list[Answer]:  # fmt: skip
    left_s = deadline.left_s()
    timeout_s = min(limits.statement_timeout_s, left_s - _SERVER_FIRST_S)
    if timeout_s <= 0:
        raise DeadlineExceeded("queue")
    binding = bind(
        placement, pid=wire.pid, now_s=clock.now_s(), timeout_ms=max(1, int(timeout_s * 1000)),
        life_s=min(left_s, life_s) + clock.error_s,
    )  # fmt: skip
    wire.ask(transaction.begin())
    wire.ask(binding.sql, binding.params)
    for text, statement in zip(fenced, transaction.statements, strict=True):
        wire.ask(text.sql, statement.params, rows=True)
    wire.ask(b"COMMIT")
    wire.ask(b"RESET ALL")  # what a function or trigger of the application has SET
    answers = await wire.fly(max_bytes=limits.max_bytes, until=deadline.at_s)
    _distrust(wire, answers)
    return answers


def _distrust(wire: Wire, answers: list[Answer]) -> None:
    """Have *wire* closed when the server ran what may leave something behind.

    Looks at what a failed transaction ran, too: a rollback undoes no PREPARE, DEALLOCATE or COMMIT.
    """
    begin, *tags, commit, reset = [command_tag(answer).partition(b" ")[0] for answer in answers]
    if not (_TAGS.issuperset(tags) and begin == b"BEGIN" and commit in _COMMITTED and reset in _RESET):
        wire.doubtful = True


def _is_out_of_time(answers: list[Answer]) -> bool:
    """Whether the database found our signature expired: it waited long, or one of the clocks has jumped."""
    entered = answers[1][-1]
    if entered.status != _FATAL:
        return False
    error = pg_error(entered)
    return (error.code, error.hint) == ("TG002", "clock")


def _is_stale(wire: Wire, fenced: list[Fenced], answers: list[Answer]) -> bool:
    """Whether a prepared statement no longer fits the tables; Postgres asks us to prepare it anew.

    Source:
        PostgreSQL 18, plancache.c, "cached plan must not change result type".
    """
    for text, answer in zip(fenced, answers[2:-2], strict=True):
        failed = answer[-1]
        if failed.status == _FATAL and wire.is_prepared(text.sql):
            error = pg_error(failed)
            return (error.code, error.routine) in _STALE_PLAN
    return False


def _is_thwarted(answers: list[Answer]) -> bool:
    """Whether the transaction, whole in our hands and without effect, would succeed had it come later.

    Source:
        PostgreSQL 18, 13.5 "Serialization Failure Handling": try the complete transaction again.
    """
    failed = (answer[-1] for answer in answers[2:-1] if answer[-1].status == _FATAL)
    return any(pg_error(result).code in _THWARTED for result in failed)


def _results(wire: Wire, placement: Placement, fenced: list[Fenced], answers: list[Answer]) -> list[Result]:
    *outcome, reset = answers
    for number, answer in enumerate(outcome):
        if answer[-1].status == _FATAL:
            _refuse(wire, placement, fenced, number - 2, pg_error(answer[-1]))
        if answer[-1].status not in _GOOD:
            wire.broken = True
            raise ConnectionLost(f"the server answered with status {answer[-1].status}")
    if wire.in_transaction or reset[-1].status not in _GOOD:
        wire.doubtful = True
    return [result(answer) for answer in outcome[2:-1]]


def _refuse(wire: Wire, placement: Placement, fenced: list[Fenced], index: int, error: PgError) -> NoReturn:
    """Raise what Postgres's *error* means; *index* counts the statements, -1 is `enter`."""
    match index:
        case -1 if error.code == "TG001":
            raise StaleRoute(placement.tenant, error.hint or "unknown")
        case -1 if error.code == "TG002":
            raise ContextRefused(placement.tenant, placement.place.cluster, error.message, error.hint or "")
        case -1 if error.code in _LOCK_WAITS:
            raise DeadlineExceeded("database")
        case -2 | -1:
            # Nothing that a request can cause: it may lie in the connection, which nobody shall meet again.
            wire.broken = True
            raise DatabaseUnavailable(placement.place.cluster, f"{error.code}: {error.message}")
        case _ if index < len(fenced) and error.position is not None:
            here = fenced[index].position(int(error.position))
            raise StatementFailed(replace(error, position=str(here)), index)
        case _:
            raise StatementFailed(error, index)
