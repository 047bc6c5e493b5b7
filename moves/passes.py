"""Brings over what has changed: after a whole pass the target is what the source was at one moment.

A pass may take a part of the log only. What is still in it then is all that the target may have otherwise.

First all changed keys go at the target, then all that the source has of them come, in one transaction: so
no unique value is met on its way from one row to another. The target commits first. Who dies in between finds
the same keys in the log again, and bringing them twice changes nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fleet.access import Connection
from fleet.identifier import quote_literal
from moves.copying import into_of, pour, rows_of
from moves.ends import Way
from moves.errors import StructureChanged
from moves.loading import open_loading
from moves.tables import Table

_KEYS_AT_ONCE = 2000
# Keys are looked up one by one, whatever the planner knows of tables that were empty a moment ago.
_BY_KEY = (
    b"SELECT set_config(name, 'off', true)"
    b" FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan}'::text[]) AS name"
)


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass brought over.

    Attributes:
        keys: Changed rows, each counted once; those of a table that was emptied count as one.
        rows: How many of them the source still has.
        changed: Those keys by table, each a list of texts in JSON; None for all rows of the table.
        is_whole: Whether it took all that was in the log.
    """

    keys: int
    rows: int
    size_bytes: int
    changed: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict, repr=False)
    is_whole: bool = True


@asynccontextmanager
async def open_pass(
    source: Connection,
    target: Connection,
    way: Way,
    tables: Sequence[Table],
    *,
    most: int | None = None,
    at_target: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Pass]:
    """A pass that is committed at the end: inside, both ends show the same moment. Both are in autocommit.

    Args:
        most: Lines of the log that are taken; a row that changed twice has two.
        at_target: Told when the target has committed, and the source not yet.

    Raises:
        MoveSuperseded: The target is another attempt's; nothing was changed.
        StructureChanged: A table changed that is none of *tables*.
        psycopg.errors.UniqueViolation, ExclusionViolation: Of a pass that is not whole: a row takes a value
            that another one has given up, whose line was not among those.
    """
    async with source.transaction():
        await source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await look_up_by_key(source)
        async with open_loading(target, way):
            await look_up_by_key(target)
            yield await apply_dirty(source, target, way, tables, most=most)
        # The target has committed; now the log may forget.
        if at_target is not None:
            await at_target()


async def look_up_by_key(connection: Connection) -> None:
    """Until the open transaction ends, keys are looked up one by one, whatever the planner thinks."""
    await connection.execute(_BY_KEY)


async def apply_dirty(
    source: Connection, target: Connection, way: Way, tables: Sequence[Table], *, most: int | None = None
) -> Pass:
    """Bring over what has changed, in transactions of the caller's that are open at both ends.

    At the source REPEATABLE READ, or READ COMMITTED under the tenant's exclusive lock; at the target
    `moves.loading.open_loading`; at both `look_up_by_key`. Commit the target first.

    Raises:
        StructureChanged: A table changed that is none of *tables*.
    """
    changed, is_whole = await _take_log(source, way, most)
    if unknown := changed.keys() - {table.name for table in tables}:
        raise StructureChanged(way.tenant, f"table {min(unknown)!r} came during the move")
    touched = [table for table in tables if table.name in changed]
    for table in touched:
        relation = table.within(way.target.placement.place.schema)
        for among, wanted in _chosen(way, table, way.target.placement.place.schema, changed[table.name]):
            using = f" USING {among}" if among else ""
            await target.execute(f"DELETE FROM {relation} AS t{using} WHERE {wanted}".encode())  # noqa: S608 - quoted
    rows = size = 0
    for table in touched:
        more_rows, more_bytes = await _bring(source, target, way, table, changed[table.name])
        rows, size = rows + more_rows, size + more_bytes
    count = sum(1 if keys is None else len(keys) for keys in changed.values())
    return Pass(count, rows, size, changed, is_whole)


async def _take_log(
    source: Connection, way: Way, most: int | None
) -> tuple[dict[str, tuple[str, ...] | None], bool]:
    """The changed keys by table, and whether these are all of them.

    They leave the log as they are read, so that none leaves it unread.
    """
    cursor = await source.execute(
        "WITH taken AS (DELETE FROM tiergate.dirty WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM tiergate.dirty WHERE move_id = %s LIMIT %s)) RETURNING table_name, key)"
        " SELECT DISTINCT table_name, key::text, (SELECT count(*) FROM taken) FROM taken",
        (way.move, most),
    )
    found: dict[str, list[str]] = {}
    emptied = set[str]()
    taken = 0
    async for name, key, lines in cursor:
        taken = lines
        found.setdefault(name, []).append(key)
        if key is None:
            emptied.add(name)
    changed = {name: None if name in emptied else tuple(keys) for name, keys in found.items()}
    return changed, most is None or taken < most


def _chosen(way: Way, table: Table, schema: str, keys: tuple[str, ...] | None) -> list[tuple[str, str]]:
    """What chooses the tenant's rows of these keys, some each: relations, and a condition on "t" and them."""
    if keys is None or not table.keys:
        return [("", f"t.tenant_id = {quote_literal(way.tenant)}")]
    chosen = []
    for at in range(0, len(keys), _KEYS_AT_ONCE):
        some = quote_literal(f"[{','.join(keys[at : at + _KEYS_AT_ONCE])}]")
        listed = f"SELECT key FROM jsonb_array_elements({some}) AS element (key)"  # noqa: S608 - quoted
        chosen.append((table.given(schema, way.tenant, listed), table.is_given("t")))
    return chosen


async def _bring(
    source: Connection, target: Connection, way: Way, table: Table, keys: tuple[str, ...] | None
) -> tuple[int, int]:
    schema = way.source.placement.place.schema
    rows = size = 0
    for among, wanted in _chosen(way, table, schema, keys):
        query, into = rows_of(way, table, wanted, among=among), into_of(way, table)
        more_rows, more_bytes = await pour(source, target, query, into)
        rows, size = rows + more_rows, size + more_bytes
    return rows, size
