"""Holds what clients remember against what the databases hold, at both ends of a move."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import psycopg
from psycopg import sql

from tests.support.ledgers import Book

_ENTRIES = sql.SQL("""
    SELECT client, number, written_in FROM {}.entries WHERE tenant_id = %s ORDER BY client, number
""")
_ACCOUNTS = sql.SQL("SELECT client, count FROM {}.accounts WHERE tenant_id = %s")
_TABLES = ("accounts", "entries")
_BEHIND = """
    SELECT 'fence: ' || state || coalesce(', of attempt ' || move_id, '') FROM tiergate.fence
    WHERE tenant_id = %(tenant)s
    AND (move_id IS NOT NULL OR NOT (%(serves)s OR state IN ('moved', 'deleted')))
    UNION ALL
    SELECT 'guard of move ' || move_id FROM tiergate.import_guard WHERE tenant_id = %(tenant)s
    UNION ALL
    SELECT 'progress of ' || table_name FROM tiergate.import_progress WHERE move_id::text = ANY (%(moves)s)
    UNION ALL
    SELECT 'change in ' || table_name FROM tiergate.dirty WHERE move_id::text = ANY (%(moves)s)
    UNION ALL
    SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass
    FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid
    WHERE p.pronamespace = 'tiergate_moves'::regnamespace AND p.prosrc ~ ANY (%(moves)s)
    UNION ALL
    SELECT 'function ' || oid::regprocedure FROM pg_proc
    WHERE pronamespace = 'tiergate_moves'::regnamespace AND prosrc ~ ANY (%(moves)s)
"""


@dataclass(slots=True)
class Verdict:
    """What is not as it should be; every list is empty when all is well.

    Attributes:
        lost: Acknowledged, and not there.
        doubled: There more than once.
        returned: Taken away, and there again.
        unwanted: Refused, or never sent, and there.
        miscounted: Accounts that another number of writes has made.
        misplaced: Written in a database that the tenant did not live in any more, or not yet.
        misread: Reads that did not show what had been acknowledged.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    misread: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {each.name: len(getattr(self, each.name)) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's rows are, or were, and the superuser's way there.

    Attributes:
        server: conninfo of a database that is always there.
        login: The role that comes and goes with the place; None where the role is everybody's.
    """

    server: str
    conninfo: str
    database: str
    schema: str
    tenant: str
    login: str | None


async def judge(
    at: Place, books: Mapping[int, Book], path: Sequence[str], marks: Mapping[int, int] | None = None
) -> Verdict:
    """Hold the entries of clients that write nothing meanwhile against their books.

    Args:
        path: The databases that the tenant has lived in, in that order.
        marks: For each client, the number after which its entries must follow *path*.
    """
    verdict = Verdict()
    async with await psycopg.AsyncConnection.connect(at.conninfo) as connection:
        schema = sql.Identifier(at.schema)
        cursor = await connection.execute(_ENTRIES.format(schema), [at.tenant])
        found: dict[int, list[tuple[int, str]]] = {}
        for client, number, written_in in await cursor.fetchall():
            found.setdefault(client, []).append((number, written_in))
        cursor = await connection.execute(_ACCOUNTS.format(schema), [at.tenant])
        counts: dict[int, int] = dict(await cursor.fetchall())
    for client, book in books.items():
        entries = found.get(client, [])
        _judge_entries(verdict, client, book, Counter(number for number, _ in entries))
        took_effect = {number for number, _ in entries} & set(book.unknown)
        expected = len(book.acknowledged) + len(took_effect)
        if counts.get(client) != expected:
            verdict.miscounted.append(f"client {client}: {counts.get(client)} for {expected} writes")
        since = (marks or {}).get(client, 0)
        lived = [written_in for number, written_in in entries if number > since]
        if not _follows(lived, path):
            verdict.misplaced.append(f"client {client}: {_runs(lived)}, the path is {list(path)}")
        verdict.misread += book.wrong_reads
    return verdict


def _judge_entries(verdict: Verdict, client: int, book: Book, entries: Counter[int]) -> None:
    surely_removed = set(book.removed)
    for number, removes in book.unknown.items():
        if removes is not None and entries[number]:
            surely_removed.add(removes)
    known = book.acknowledged | set(book.unknown)
    told = {
        "lost": book.acknowledged - surely_removed - set(entries),
        "doubled": {number for number, times in entries.items() if times > 1},
        "returned": surely_removed & set(entries),
        "unwanted": set(entries) - known,
    }
    for what, numbers in told.items():
        getattr(verdict, what).extend(f"client {client}, entry {number}" for number in sorted(numbers))


def _runs(lived: Sequence[str]) -> list[str]:
    """*lived* without repetitions."""
    return [name for at, name in enumerate(lived) if at == 0 or lived[at - 1] != name]


def _follows(lived: Sequence[str], path: Sequence[str]) -> bool:
    """Whether *lived* goes along *path*, leaving out what it will, and never back."""
    ahead = iter(path)
    return all(any(name == step for step in ahead) for name in _runs(lived))


async def left_behind(at: Place, moves: Sequence[str], *, serves: bool = False) -> list[str]:
    """What is left of a tenant's moves in a database; and of the tenant itself, unless it lives there.

    Its place may be gone altogether. The fence that sends others on may stay.
    """
    left: list[str] = []
    if at.login is not None and not serves:
        async with await psycopg.AsyncConnection.connect(at.server) as connection:
            cursor = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [at.login])
            left += ["its role"] * cursor.rowcount
            cursor = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [at.database])
            if not cursor.rowcount:
                return left
    async with await psycopg.AsyncConnection.connect(at.conninfo) as connection:
        cursor = await connection.execute(
            _BEHIND.encode(), {"tenant": at.tenant, "moves": list(moves), "serves": serves}
        )
        left += [str(text) for (text,) in await cursor.fetchall()]
        if not serves:
            left += [text for table in _TABLES async for text in _rows_left(connection, at, table)]
            cursor = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [at.schema])
            left += ["its schema"] * (cursor.rowcount if at.login is not None else 0)
    return left


async def _rows_left(connection: psycopg.AsyncConnection, at: Place, table: str) -> AsyncIterator[str]:
    name = sql.Identifier(at.schema, table)
    cursor = await connection.execute("SELECT to_regclass(%s)", [name.as_string(connection)])
    if await cursor.fetchone() != (None,):
        rows = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(name)
        [[count]] = await (await connection.execute(rows, [at.tenant])).fetchall()
        if count:
            yield f"{count} rows of {table}"
