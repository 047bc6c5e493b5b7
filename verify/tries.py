"""One tenant of ours tries every known way to the other's row; what it gets is judged here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

import psycopg

from fleet.identifier import quote_identifier
from guard.errors import StatementNotPassed
from guard.verdict import Guard
from pools.errors import StatementFailed, StatementRefused
from pools.statement import Statement
from registry.placement import Placement
from verify.canary import Canary
from verify.door import Door, run_directly
from verify.escapes import Escape, Must, Way

_REFUSALS = frozenset({"42501", "TG001", "TG002", "fence"})
"""No right, or no context; `fence` is the gateway's, where a statement is none that runs here."""
_NOTHING = frozenset({None, "", "0", "f"})


Rows: TypeAlias = list[tuple[str | None, ...]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try.

    Attributes:
        refused: SQLSTATE or `fence`; None when it ran.
        said: Every text that came back: values, or the error's.
    """

    refused: str | None
    said: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Duel:
    """Two tenants, and the row of one that the other is after.

    Attributes:
        server: libpq keywords of the server itself, whatever stands between it and the pools.
        seen: The victim's rows in that table, as it sees them: one, before anything is tried.
        guard: What requests of the tier are held against; None where all of SQL may be run.
    """

    door: Door
    server: str
    attacker: Placement
    victim: Placement
    canary: Canary
    seen: Rows
    guard: Guard | None

    async def attempt(self, escape: Escape) -> list[str]:
        """Try it; what is wrong with what came of it, a sentence each."""
        names = self._names()
        texts = [_filled(text, names) for text in escape.sql]
        match escape.way:
            case Way.REQUEST:
                outcome = await self._ask(texts)
            case Way.LOGIN:
                database = _filled(escape.database or self.attacker.place.database, names)
                outcome = await self._log_in(database, texts)
            case _:
                assert_never(escape.way)
        wrong = list(_judge(escape, outcome, self.canary.mark))
        if escape.way is Way.REQUEST and not escape.is_ordinary and self._passes(texts):
            wrong.append("the guard lets it pass")
        if await look(self.door, self.victim, self.canary) != self.seen:
            wrong.append("the other tenant's row was changed")
        return wrong

    def _passes(self, texts: Sequence[str]) -> bool:
        if self.guard is None:
            return False
        try:
            for text in texts:
                self.guard.judge(text, self.attacker.tier)
        except StatementNotPassed:
            return False
        return True

    async def _ask(self, texts: Sequence[str]) -> Outcome:
        try:
            results = await self.door.run(self.attacker, *map(Statement, texts))
        except StatementFailed as failed:
            error = failed.error
            return Outcome(error.code, (error.message, error.detail, error.hint))
        except StatementRefused as refused:
            return Outcome("fence", (str(refused),))
        return Outcome(None, tuple(value for row in results[-1].rows for value in row))

    async def _log_in(self, database: str, texts: Sequence[str]) -> Outcome:
        try:
            rows = await run_directly(self.server, self.attacker.place, database, texts)
        except psycopg.Error as exc:
            # libpq gives no code for a login that was refused; what it says then has the server's words.
            is_closed = exc.sqlstate is None and "permission denied" in str(exc)
            return Outcome("42501" if is_closed else exc.sqlstate or "no answer", (str(exc),))
        return Outcome(None, tuple(str(value) for row in rows for value in row))

    def _names(self) -> dict[str, str]:
        victim, canary = self.victim, self.canary
        return {
            "table": canary.table, "columns": ", ".join(canary.columns), "values": ", ".join(canary.values),
            "one": canary.columns[0], "victim": victim.tenant, "place": victim.place.id,
            "both": f"'{victim.tenant}', '{self.attacker.tenant}'",
            "schema": quote_identifier(victim.place.schema), "database": victim.place.database,
            "own": quote_identifier(self.attacker.place.schema), "zeros": "0" * 64,
        }  # fmt: skip


async def look(door: Door, victim: Placement, canary: Canary) -> Rows:
    """What the victim sees of its own in the canary's table."""
    text = f"SELECT t::text FROM {canary.table} AS t WHERE tenant_id = '{victim.tenant}' ORDER BY 1"  # noqa: S608 - quoted
    [seen] = await door.run(victim, Statement(text))
    return seen.rows


def _judge(escape: Escape, outcome: Outcome, mark: str) -> Iterator[str]:
    if "{values}" not in "".join(escape.sql) and any(mark in said for said in outcome.said if said):
        yield "it showed the other tenant's row"
    code = outcome.refused
    match escape.must:
        case Must.REFUSED if code is None:
            yield "it ran"
        case Must.REFUSED if code is not None and code not in (escape.codes or _REFUSALS):
            yield f"it failed with {_condition(code)}, not for want of the right"
        case Must.NOTHING if code is None and not set(outcome.said) <= _NOTHING:
            yield "it gave something"
        case Must.NOTHING | Must.RUNS if code is not None:
            yield f"it failed with {_condition(code)}"
        case _:
            pass


def _condition(code: str) -> str:
    """The code and its name. Never the message: where a rule is gone it may quote anybody's row."""
    try:
        return f"{code} ({psycopg.errors.lookup(code).__name__})"
    except KeyError:
        return code


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text
