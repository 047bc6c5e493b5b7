"""A row that must stay unseen: written by one tenant of ours into whatever table the application has."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fleet.access import ClusterAccess, bounded, open_admin
from fleet.identifier import quote_identifier, quote_literal
from pools.errors import StatementFailed
from pools.statement import Statement
from registry.placement import Placement
from tiergate.deadline import Deadline
from verify.door import Door

# Tables that refer to others come last: what they refer to would have to be made first.
_COLUMNS = """
SELECT relname, attname, typcategory::text, typname, atttypmod, attnotnull AND NOT atthasdef AS is_needed,
    (SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder LIMIT 1) AS label
FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type AS t ON t.oid = atttypid
WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p') AND NOT relispartition
    AND attidentity = '' AND attgenerated = ''
ORDER BY (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f'), relname, attnum
"""
_HEADER_BYTES = 4  # which the modifier of varchar(n) counts; there is none, and -1, for text
_PLAIN = {"B": "true", "D": "2001-02-03", "T": "1 day", "A": "{}", "I": "127.0.0.1", "R": "empty", "N": "1"}
_USER_TYPES = {"json": "{}", "jsonb": "{}", "bytea": "\\x00"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of the application's."""

    name: str
    category: str
    type_name: str
    modifier: int
    is_needed: bool
    label: str | None

    @property
    def is_text(self) -> bool:
        """Whether it may carry the mark."""
        return self.category == "S" and self.name != "tenant_id"

    def value(self, mark: str) -> str | None:
        """A text of the type, with the mark where there is room; None for types that are not known here."""
        if self.category == "S":
            longest = self.modifier - _HEADER_BYTES
            return f"{mark}@verify.example"[: longest if longest > 0 else None]
        if self.type_name == "uuid":
            return "00000000-0000-4000-8000-" + secrets.token_hex(6)
        return self.label or _PLAIN.get(self.category) or _USER_TYPES.get(self.type_name)


@dataclass(frozen=True, slots=True)
class Canary:
    """The row, as it lies in the table.

    Attributes:
        mark: In each text of it; random, so that it is nowhere else.
        table: Quoted.
        columns: Quoted, all of them but tenant_id.
        values: As literals, in the same order.
    """

    mark: str
    table: str
    columns: tuple[str, ...]
    values: tuple[str, ...]


async def put_canary(
    door: Door, access: ClusterAccess, placement: Placement, deadline: Deadline
) -> Canary | None:
    """Write the row as *placement*'s tenant; None when no table takes one that we can think of."""
    for table, columns in await _tables(access, placement, deadline):
        mark = f"canary-{secrets.token_hex(8)}"
        for row in _rows(columns, mark):
            every = [quote_identifier(column.name) for column in columns if column.name != "tenant_id"]
            try:
                [result] = await door.run(placement, _insert(table, row, every))
            except StatementFailed:
                continue  # a CHECK or a type that we cannot guess
            values = tuple("NULL" if value is None else quote_literal(value) for value in result.rows[0])
            return Canary(mark, table, tuple(every), values)
    return None


def _insert(table: str, row: Mapping[str, str], returning: Sequence[str]) -> Statement:
    names = ", ".join(map(quote_identifier, row))
    holes = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    what = f"({names}) VALUES ({holes})" if row else "DEFAULT VALUES"
    text = f"INSERT INTO {table} {what} RETURNING {', '.join(returning)}"
    return Statement(text, tuple(value.encode() for value in row.values()))


def _rows(columns: Sequence[Column], mark: str) -> Iterator[dict[str, str]]:
    """What to try: with every text there is, then with what is needed alone."""
    for with_all in (True, False):
        wanted = [
            column
            for column in columns
            if column.name != "tenant_id" and (column.is_needed or (with_all and column.is_text))
        ]
        values = {column.name: column.value(mark) for column in wanted}
        if None not in values.values():
            yield {name: value for name, value in values.items() if value is not None}


async def _tables(
    access: ClusterAccess, placement: Placement, deadline: Deadline
) -> list[tuple[str, list[Column]]]:
    place = placement.place
    async with (
        bounded(access, "be looked at", deadline),
        open_admin(access, place.database, deadline) as admin,
    ):
        cursor = await admin.execute(_COLUMNS.encode(), (quote_identifier(place.schema),))
        found = await cursor.fetchall()
    return [
        (quote_identifier(name), [Column(*row[1:]) for row in rows])
        for name, rows in groupby(found, key=lambda row: str(row[0]))
    ]
