"""What the answers to a transaction's flight mean: BEGIN, enter, each statement, COMMIT, RESET ALL."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from psycopg import pq

from pools.errors import (
    ConnectionLost,
    ContextRefused,
    DatabaseUnavailable,
    DeadlineExceeded,
    PgError,
    StaleRoute,
    StatementFailed,
)
from pools.flight import Answer
from pools.result import command_tag, pg_error
from pools.statement import Fenced
from pools.wire import Wire
from registry.placement import Placement

GOOD = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_CHUNK})
_FATAL = pq.ExecStatus.FATAL_ERROR
_COMMITTED, _RESET = frozenset({b"", b"COMMIT"}), frozenset({b"", b"RESET"})
# What leaves nothing behind; empty when it failed.
_TAGS = frozenset({b"", b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"EXPLAIN"})
# The tenant's lock was not had in time: a move or a change of its fence holds it.
_LOCK_WAITS = frozenset({"55P03", "57014"})
_STALE_PLAN = frozenset({("0A000", "RevalidateCachedQuery"), ("26000", "FetchPreparedStatement")})
# Another transaction was in the way; the server asks for this one again. Under SERIALIZABLE it may be another
# tenant's: Postgres watches pages of indexes and, for small tables, whole tables, and knows no tenants there.
_THWARTED = frozenset({"40001", "40P01"})


def distrust(wire: Wire, answers: list[Answer]) -> None:
    """Have *wire* closed when the server ran what may leave something behind.

    Looks at what a failed transaction ran, too: a rollback undoes no PREPARE, DEALLOCATE or COMMIT.
    """
    begin, *tags, commit, reset = [command_tag(answer).partition(b" ")[0] for answer in answers]
    if not (_TAGS.issuperset(tags) and begin == b"BEGIN" and commit in _COMMITTED and reset in _RESET):
        wire.is_strange = not (wire.doubtful or _TAGS.issuperset(tags))  # in doubt before: all was meant
        wire.doubtful = True


def is_out_of_time(answers: list[Answer]) -> bool:
    """Whether the database found our signature expired: it waited long, or one of the clocks has jumped."""
    entered = answers[1][-1]
    if entered.status != _FATAL:
        return False
    error = pg_error(entered)
    return (error.code, error.hint) == ("TG002", "clock")


def is_stale(wire: Wire, fenced: Sequence[Fenced], answers: list[Answer]) -> bool:
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


def is_thwarted(answers: list[Answer]) -> bool:
    """Whether the transaction, whole in our hands and without effect, would succeed had it come later.

    Source:
        PostgreSQL 18, 13.5 "Serialization Failure Handling": try the complete transaction again.
    """
    failed = (answer[-1] for answer in answers[2:-1] if answer[-1].status == _FATAL)
    return any(pg_error(result).code in _THWARTED for result in failed)


def check(wire: Wire, placement: Placement, fenced: Sequence[Fenced], answers: list[Answer]) -> None:
    """Return when all went well and is committed, and raise what it means when not; see `pools.lease.run`."""
    *outcome, reset = answers
    for number, answer in enumerate(outcome):
        if answer[-1].status == _FATAL:
            _refuse(wire, placement, fenced, number - 2, pg_error(answer[-1]))
        if answer[-1].status not in GOOD:
            wire.broken = True
            raise ConnectionLost(f"the server answered with status {answer[-1].status}")
    if wire.in_transaction or reset[-1].status not in GOOD:
        wire.doubtful = True


def _refuse(
    wire: Wire, placement: Placement, fenced: Sequence[Fenced], index: int, error: PgError
) -> NoReturn:
    """Raise what Postgres's *error* means; *index* counts the statements, -1 is `enter`."""
    match index:
        case -1 if error.code == "TG001":
            raise StaleRoute(placement.tenant, error.hint or "unknown", _forward_epoch(error))
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


def _forward_epoch(error: PgError) -> int | None:
    """Since when the tenant is served elsewhere, as the fence that refused it says."""
    try:
        match json.loads(error.detail or "{}"):
            case {"epoch": int(epoch)}:
                return epoch
    except ValueError:
        pass
    return None
