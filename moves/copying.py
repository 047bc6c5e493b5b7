"""Brings a tenant's rows over, a chunk at a time, in the order of the primary key.

Each chunk is one short transaction at the target, which also says how far it is: killed anywhere, the copy
goes on where it was. Chunks are of different moments; the log of changes (moves/capture.py), begun before the
first of them, and a pass over it make them one.
"""

from dataclasses import dataclass

from psycopg import errors as pg

from fleet.access import Connection
from fleet.identifier import quote_identifier, quote_literal
from moves.ends import Way
from moves.loading import open_loading
from moves.tables import Table, quote_all

# Rows come one by one; a write to the other server costs more than most of them.
_AT_ONCE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step of the copy brought over.

    Attributes:
        is_last: Whether the table is done.
    """

    rows: int
    size_bytes: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Copied:
    """How far the copy of a table is."""

    rows: int
    size_bytes: int
    is_done: bool


async def copy_chunk(source: Connection, target: Connection, way: Way, table: Table, *, rows: int) -> Chunk:
    """Copy the next *rows* rows of *table*, from where the target says it is; both in autocommit.

    Raises:
        MoveSuperseded: The target is another attempt's; nothing was changed.
    """
    async with open_loading(target, way):
        done, after = await _reached(target, way, table)
        if done:
            return Chunk(0, 0, is_last=True)
        upto = await _bound(source, way, table, after, rows)
        wanted = _between(way, table, after, upto)
        try:
            async with target.transaction():
                query = rows_of(way, table, wanted + in_order(table))
                count, size = await pour(source, target, query, into_of(way, table))
        except (pg.UniqueViolation, pg.ExclusionViolation):
            count, size = await _pour_unchanged(source, target, way, table, wanted)
        await target.execute(
            "INSERT INTO tiergate.import_progress AS p VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (move_id, table_name) DO UPDATE SET last_key = excluded.last_key,"
            " row_count = p.row_count + excluded.row_count, is_done = excluded.is_done,"
            " size_bytes = p.size_bytes + excluded.size_bytes",
            (way.move, table.name, upto, count, size, upto is None),
        )
    return Chunk(count, size, is_last=upto is None)


async def copied(target: Connection, way: Way) -> dict[str, Copied]:
    """How far each table is that was begun, by name."""
    cursor = await target.execute(
        "SELECT table_name, row_count, size_bytes, is_done FROM tiergate.import_progress WHERE move_id = %s",
        (way.move,),
    )
    return {name: Copied(rows, size, done) for name, rows, size, done in await cursor.fetchall()}


async def pour(source: Connection, target: Connection, query: str, into: str) -> tuple[int, int]:
    """Send the rows of *query* into a table, as text; rows and bytes that went over.

    Args:
        into: Table and columns, as COPY names them.
    """
    size, waiting, waiting_bytes = 0, list[bytes](), 0
    out, back = source.cursor(), target.cursor()
    async with (
        out.copy(f"COPY ({query}) TO STDOUT".encode()) as rows,
        back.copy(f"COPY {into} FROM STDIN".encode()) as sink,
    ):
        async for row in rows:
            waiting.append(bytes(row))
            waiting_bytes += len(row)
            if waiting_bytes >= _AT_ONCE_BYTES:
                await sink.write(b"".join(waiting))
                size, waiting, waiting_bytes = size + waiting_bytes, [], 0
        await sink.write(b"".join(waiting))
    return back.rowcount, size + waiting_bytes


async def _reached(target: Connection, way: Way, table: Table) -> tuple[bool, list[str] | None]:
    cursor = await target.execute(
        "SELECT is_done, last_key FROM tiergate.import_progress WHERE (move_id, table_name) = (%s, %s)",
        (way.move, table.name),
    )
    row = await cursor.fetchone()
    return (row[0], row[1]) if row else (False, None)


async def _bound(
    source: Connection, way: Way, table: Table, after: list[str] | None, rows: int
) -> list[str] | None:
    """The key of the last row of the chunk; None when it takes all that are left."""
    if not table.keys:
        return None
    cursor = await source.execute(
        f"SELECT {table.key_of('t')}"  # noqa: S608 - quoted
        f" FROM {table.within(way.source.placement.place.schema)} AS t"
        f" WHERE {_between(way, table, after, None)}{in_order(table)} LIMIT 1 OFFSET {rows - 1}".encode()
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def _pour_unchanged(
    source: Connection, target: Connection, way: Way, table: Table, wanted: str
) -> tuple[int, int]:
    """Copy a chunk whose rows met others of their unique values: without those that have changed.

    A row took such a value from one that was copied before it gave the value up. So both have changed since
    the log began: they are in the log, and the next pass brings them. Rows that are here already, since a
    pass has brought them, go into the log before they are left out: whatever they are, they will be right.
    """
    changed = (
        "SELECT d.key FROM tiergate.dirty AS d WHERE d.key IS NOT NULL"  # noqa: S608 - quoted
        f" AND (d.move_id, d.table_name) = ({quote_literal(way.move)}, {quote_literal(table.name)})"
    )
    there = table.within(way.target.placement.place.schema)
    known = table.keys_in("t", way.source.placement.place.schema, changed)
    quiet = f"{wanted} AND NOT {known}{in_order(table)}"
    await target.execute(f"CREATE TEMP TABLE tiergate_chunk (LIKE {there} INCLUDING GENERATED)".encode())
    staged = f"pg_temp.tiergate_chunk ({quote_all(table.columns)})"
    _, size = await pour(source, target, rows_of(way, table, quiet), staged)
    same = " AND ".join(f"t.{name} = s.{name}" for name in ("tenant_id", *map(quote_identifier, table.keys)))
    cursor = await target.execute(
        f"SELECT {table.key_of('s')}::text FROM pg_temp.tiergate_chunk AS s"  # noqa: S608 - quoted
        f" WHERE EXISTS (SELECT FROM {there} AS t WHERE {same})".encode()
    )
    if present := [row[0] for row in await cursor.fetchall()]:
        await source.execute(
            "INSERT INTO tiergate.dirty (move_id, table_name, key)"
            " SELECT %s, %s, key FROM unnest(%s::jsonb[]) AS key",
            (way.move, table.name, present),
        )
    columns = quote_all(table.columns)
    cursor = await target.execute(
        f"INSERT INTO {there} ({columns}) OVERRIDING SYSTEM VALUE"  # noqa: S608 - quoted
        f" SELECT {columns} FROM pg_temp.tiergate_chunk AS s"
        f" WHERE NOT EXISTS (SELECT FROM {there} AS t WHERE {same})".encode()
    )
    await target.execute("DROP TABLE pg_temp.tiergate_chunk")
    return cursor.rowcount, size


def _between(way: Way, table: Table, after: list[str] | None, upto: list[str] | None) -> str:
    """The tenant's rows behind one key, up to another one."""
    types = table.types_within(way.source.placement.place.schema)
    says = [f"t.tenant_id = {quote_literal(way.tenant)}"]
    for key, compared in ((after, ">"), (upto, "<=")):
        if key is not None:
            values = ", ".join(
                f"{quote_literal(part)}::{kind}" for part, kind in zip(key, types, strict=True)
            )
            says.append(f"({quote_all(table.keys, 't.')}) {compared} ({values})")
    return " AND ".join(says)


def in_order(table: Table) -> str:
    """The end of a query for a piece of the tenant's rows, by which it goes through the primary key's index.

    To a planner that has not heard of the tenant (see `Table.given`) every index that begins with tenant_id
    is as good, and by any other it would read all rows for each piece.
    """
    return f" ORDER BY {quote_all(table.keys, 't.')}" if table.keys else ""


def rows_of(way: Way, table: Table, wanted: str, *, among: str = "") -> str:
    """The query at the source for the rows that *wanted*, a condition on "t", chooses.

    Args:
        among: A relation that the condition speaks of, too.
    """
    relations = ", ".join(filter(None, (f"{table.within(way.source.placement.place.schema)} AS t", among)))
    return f"SELECT {quote_all(table.columns, 't.')} FROM {relations} WHERE {wanted}"  # noqa: S608 - quoted


def into_of(way: Way, table: Table) -> str:
    """The table at the target with its columns, as COPY names them."""
    return f"{table.within(way.target.placement.place.schema)} ({quote_all(table.columns)})"
