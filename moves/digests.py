"""Compares what two databases hold for a tenant, by digests that the databases compute.

Apart from the copier on purpose: it names the rows itself, takes every column, generated ones too, and counts
on no log. A digest is SHA-256 of the row's text, and sessions are pinned to one way of writing it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fleet.access import Connection
from fleet.identifier import quote_identifier, quote_literal
from moves.ends import End, Way
from moves.passes import Pass
from moves.tables import Table
from moves.together import together
from tiergate.tenant import TenantId

Key: TypeAlias = tuple[str, ...]
"""The primary key without tenant_id, each part as the server writes it; empty where that is all."""

_KEYS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Compared:
    """What the comparison of a piece of a table has found.

    Attributes:
        after: Where the next piece begins; None when the table is done.
        rows: How many the source has in this piece.
        differing: Keys of rows that are not alike at both ends, or at one end only.
    """

    after: Key | None
    rows: int
    differing: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not alike at both ends."""

    table: str
    key: Key

    @property
    def key_text(self) -> str:
        """The key for people."""
        return f"({', '.join(self.key)})"


async def compare_chunk(
    source: Connection, target: Connection, way: Way, table: Table, after: Key | None, rows: int
) -> Compared:
    """Compare the *rows* rows of the source behind *after* with what the target has between the same keys.

    While the tenant writes, what differs may only be late: look at it again with `compare_keys` inside
    `moves.passes.open_pass`, where both ends show the same moment.
    """
    upto = await _end_of_piece(source, way, table, after, rows)
    count, same = await _are_alike(source, target, way, table, _piece(way, table, after, upto))
    differing: tuple[Key, ...] = ()
    if not same:
        differing = await _differing(source, target, way, table, _piece(way, table, after, upto))
    return Compared(upto, count, differing)


async def compare_keys(
    source: Connection, target: Connection, way: Way, table: Table, keys: Sequence[Key]
) -> tuple[Key, ...]:
    """Those of *keys* whose rows are not alike at both ends; absent at both is alike."""
    found: list[Key] = []
    for at in range(0, len(keys), _KEYS_AT_ONCE):
        which = _among(way, table, keys[at : at + _KEYS_AT_ONCE])
        _, same = await _are_alike(source, target, way, table, which)
        if not same:
            found += await _differing(source, target, way, table, which)
    return tuple(found)


async def delta_differs(
    source: Connection, target: Connection, way: Way, tables: Sequence[Table], done: Pass
) -> tuple[Difference, ...]:
    """Rows of the pass *done* that are not alike; before its transactions end, or under the tenant's lock."""
    found: list[Difference] = []
    for table in tables:
        if table.name not in done.changed:
            continue
        keys = done.changed[table.name]
        if keys is None:
            everything = _piece(way, table, None, None)
            _, same = await _are_alike(source, target, way, table, everything)
            differing = () if same else await _differing(source, target, way, table, everything)
        else:
            given = [tuple(json.loads(key)) for key in keys]
            differing = await compare_keys(source, target, way, table, given)
        found += [Difference(table.name, key) for key in differing]
    return tuple(found)


async def whole(connection: Connection, tenant: TenantId, schema: str, table: Table) -> str:
    """One digest of all of the tenant's rows in a table, whatever their order; 64 hexadecimal digits.

    In two steps, since the digests of all rows would not fit into one value.
    """
    cursor = await connection.execute(
        "SELECT encode(sha256(coalesce(string_agg(part, '' ORDER BY head), '')), 'hex') FROM ("  # noqa: S608 - quoted
        " SELECT substr(digest, 1, 2) AS head, sha256(string_agg(digest, '' ORDER BY digest)) AS part"
        f" FROM (SELECT {_digest(table)} AS digest FROM {table.within(schema)} AS t"
        f" WHERE t.tenant_id = {quote_literal(tenant)}) AS one GROUP BY 1) AS parts".encode()
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else ""


async def _end_of_piece(
    source: Connection, way: Way, table: Table, after: Key | None, rows: int
) -> Key | None:
    if not table.keys:
        return None
    cursor = await source.execute(
        f"SELECT {_key(table)} FROM {table.within(way.source.placement.place.schema)} AS t"  # noqa: S608 - quoted
        f" {_piece(way, table, after, None)[0]} OFFSET {rows - 1} LIMIT 1".encode()
    )
    row = await cursor.fetchone()
    return tuple(row[0]) if row else None


async def _are_alike(
    source: Connection, target: Connection, way: Way, table: Table, which: tuple[str, str]
) -> tuple[int, bool]:
    """How many rows the source has there, and whether both ends have the same ones."""

    async def sum_up(connection: Connection, end: End, clause: str) -> tuple[int, bytes]:
        cursor = await connection.execute(
            "SELECT count(*), sha256(coalesce(string_agg(digest, '' ORDER BY digest), ''))"  # noqa: S608 - quoted
            f" FROM (SELECT {_digest(table)} AS digest FROM {table.within(end.placement.place.schema)} AS t"
            f" {clause}) AS piece".encode()
        )
        row = await cursor.fetchone()
        return (row[0], row[1]) if row else (0, b"")

    async with together() as tasks:
        here = tasks.create_task(sum_up(source, way.source, which[0]), name="digest the source")
        there = tasks.create_task(sum_up(target, way.target, which[1]), name="digest the target")
    return here.result()[0], here.result() == there.result()


async def _differing(
    source: Connection, target: Connection, way: Way, table: Table, which: tuple[str, str]
) -> tuple[Key, ...]:
    async def read(connection: Connection, end: End, clause: str) -> set[tuple[Key, bytes]]:
        cursor = await connection.execute(
            f"SELECT {_key(table)}, {_digest(table)}"  # noqa: S608 - quoted
            f" FROM {table.within(end.placement.place.schema)} AS t {clause}".encode()
        )
        return {(tuple(key), digest) for key, digest in await cursor.fetchall()}

    here = await read(source, way.source, which[0])
    there = await read(target, way.target, which[1])
    return tuple(sorted({key for key, _ in here ^ there}))


def _piece(way: Way, table: Table, after: Key | None, upto: Key | None) -> tuple[str, str]:
    """The tenant's rows between two keys: what follows "FROM ... AS t" at the source, and at the target.

    In order, so that they are found by the primary key's index, whatever the planner knows of the tenant.
    """

    def clause(end: End) -> str:
        types = table.types_within(end.placement.place.schema)
        columns = ", ".join(f"t.{quote_identifier(key)}" for key in table.keys)
        says = [_ours(way)]
        if after is not None:
            says.append(f"({columns}) > ({_typed(after, types)})")
        if upto is not None:
            says.append(f"({columns}) <= ({_typed(upto, types)})")
        return f"WHERE {' AND '.join(says)}{f' ORDER BY {columns}' if columns else ''}"

    return clause(way.source), clause(way.target)


def _among(way: Way, table: Table, keys: Sequence[Key]) -> tuple[str, str]:
    """The tenant's rows of these keys, looked up one by one (see `Table.given`): as `_piece`."""
    if not table.keys:
        return f"WHERE {_ours(way)}", f"WHERE {_ours(way)}"

    def clause(end: End) -> str:
        types = table.types_within(end.placement.place.schema)
        tenant = quote_literal(way.tenant)
        names = ", ".join(("tenant_id", *map(quote_identifier, table.keys)))
        given = ", ".join(f"({tenant}, {_typed(key, types)})" for key in keys)
        return f"JOIN (SELECT DISTINCT * FROM (VALUES {given}) AS listed ({names})) AS given USING ({names})"  # noqa: S608 - quoted

    return clause(way.source), clause(way.target)


def _ours(way: Way) -> str:
    return f"t.tenant_id = {quote_literal(way.tenant)}"


def _typed(key: Key, types: Sequence[str]) -> str:
    return ", ".join(f"{quote_literal(part)}::{kind}" for part, kind in zip(key, types, strict=True))


def _key(table: Table) -> str:
    parts = ", ".join(f"format('%s', t.{quote_identifier(key)})" for key in table.keys)
    return f"ARRAY[{parts}]::text[]"


def _digest(table: Table) -> str:
    # By name: a column may stand elsewhere in the table of the other end.
    columns = sorted({*table.columns, *table.generated})
    row = ", ".join(f"t.{quote_identifier(column)}" for column in columns)
    return f"sha256(convert_to(ROW({row})::text, 'UTF8'))"
