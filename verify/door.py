"""The ways in: through a pool as every request goes, or straight to the server with a tenant's login."""

from collections.abc import Sequence

import psycopg
from psycopg.conninfo import make_conninfo

from pools.lease import RequestLimits, Transaction
from pools.result import Result
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import Place, Placement
from tiergate.deadline import Deadline

_STATEMENT_S = 5.0
_ANSWER_BYTES = 4 << 20


class Door:
    """Runs what a tenant would, without the guard: what holds here, the database holds alone."""

    def __init__(self, switchboard: Switchboard, schemas: frozenset[str]) -> None:
        """*schemas* are the names under which statements may write the application's schema."""
        self._switchboard = switchboard
        self._limits = RequestLimits(_STATEMENT_S, _ANSWER_BYTES, schemas)

    async def run(self, placement: Placement, *statements: Statement) -> list[Result]:
        """Run statements in one transaction; see `pools.lease.run` for what it raises."""
        deadline = Deadline.after(2 * _STATEMENT_S)
        async with self._switchboard.lease(placement, deadline) as lease:
            return await lease.run(Transaction(statements), self._limits)


async def run_directly(
    server: str, place: Place, database: str, statements: Sequence[str]
) -> list[tuple[object, ...]]:
    """Log in to *database* as *place*'s login, run statements in one transaction, give the last one's rows.

    It is rolled back, always: what succeeds here must not stay.

    Raises:
        psycopg.Error: The server refused the login or a statement.
    """
    conninfo = make_conninfo(
        server, user=place.login, password=place.password, dbname=database,
        connect_timeout=int(_STATEMENT_S), application_name="tiergate verify",
    )  # fmt: skip
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            cursor = await connection.execute(statement.encode())
            rows = await cursor.fetchall() if cursor.description else []
        await connection.rollback()  # on an error psycopg does it
        return rows
