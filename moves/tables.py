"""The tables that a move brings over, and whether they are the same at both ends.

Read from the catalog, once a move and again before the cut-over; nothing here reads a row of a tenant.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

from fleet.access import Connection
from fleet.identifier import quote_identifier, quote_literal


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the application: the same value at both ends.

    Attributes:
        columns: Those that are written, in order: without generated ones.
        keys: The primary key in its order, without tenant_id; may be empty.
        identity: Columns that number themselves.
        generated: Columns that the server computes.
        types: SQL type of each key; one that begins with a dot is of the schema that the table is in.
    """

    name: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    identity: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def within(self, schema: str) -> str:
        """The table as SQL names it in *schema*."""
        return f"{quote_identifier(schema)}.{quote_identifier(self.name)}"

    def types_within(self, schema: str) -> tuple[str, ...]:
        """The types of the keys as SQL names them where the table is in *schema*."""
        own = quote_identifier(schema)
        return tuple(own + name if name.startswith(".") else name for name in self.types)

    def key_of(self, row: str) -> str:
        """The key of *row* as JSON in SQL: a list of texts, as the log of changes has it.

        concat() takes a value's text as its type writes it. A cast could be a function of the application's
        own, and some casts lose a part.
        """
        texts = ", ".join(f"concat({row}.{quote_identifier(key)})" for key in self.keys)
        return f"jsonb_build_array({texts})"

    def keys_in(self, row: str, schema: str, keys: str) -> str:
        """Whether *row* is one of *keys*, as a condition in SQL, by value and so by the primary key's index.

        Args:
            keys: SQL that gives the keys as rows of one column "key", each a list of texts in JSON.
        """
        if not self.keys:
            return f"EXISTS ({keys})"
        parts = ", ".join(self._parts(schema))
        return f"({quote_all(self.keys, f'{row}.')}) IN (SELECT {parts} FROM ({keys}) AS given)"  # noqa: S608 - quoted

    def given(self, schema: str, tenant: str, keys: str) -> str:
        """The rows that *keys* name, as a relation "given" in SQL, to be joined by `is_given`.

        So each row is looked up by its primary key, whatever the planner believes of the tenant. A condition
        on tenant_id = 'acme' has it look that name up in its statistics; of a tenant that came after the last
        ANALYZE it believes that there is one row, and that reading them all is as good as looking one up.

        Args:
            keys: SQL that gives the keys as rows of one column "key", each a list of texts in JSON.
        """
        parts = ", ".join(f"{part} AS part_{n}" for n, part in enumerate(self._parts(schema)))
        # DISTINCT by value: two texts may write one number. And it keeps the planner from looking inside.
        return (
            f"(SELECT DISTINCT {quote_literal(tenant)} AS tenant, {parts} FROM ({keys}) AS listed) AS given"  # noqa: S608 - quoted
        )

    def _parts(self, schema: str) -> list[str]:
        """Each part of a "key", a list of texts in JSON, as SQL by its own type."""
        return [f"(key ->> {number})::{kind}" for number, kind in enumerate(self.types_within(schema))]

    def is_given(self, row: str) -> str:
        """Whether *row* is the one that a row of `given` names, as a condition in SQL."""
        parts = (f"{row}.{quote_identifier(key)} = given.part_{n}" for n, key in enumerate(self.keys))
        return " AND ".join((f"{row}.tenant_id = given.tenant", *parts))


def quote_all(names: tuple[str, ...], prefix: str = "") -> str:
    """A list of columns in SQL, each behind *prefix*."""
    return ", ".join(prefix + quote_identifier(name) for name in names)


# A type of the same schema is printed behind the schema's name, since that is in nobody's search path.
_TABLES = """
SELECT c.relname::text,
    ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum),
    ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attidentity <> '' ORDER BY attnum),
    ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> '' ORDER BY attnum),
    k.names, k.types
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(attname::text ORDER BY place), '{}') AS names,
        coalesce(array_agg(CASE WHEN t.typnamespace = n.oid
            THEN substr(format_type(t.oid, -1), length(quote_ident(nspname)) + 1)
            ELSE format_type(t.oid, -1) END ORDER BY place), '{}') AS types
    FROM pg_index AS i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS part (attnum, place)
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = part.attnum
    JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE i.indrelid = c.oid AND i.indisprimary AND place <= i.indnkeyatts AND attname <> 'tenant_id'
) AS k
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname COLLATE "C"
"""


async def read_tables(connection: Connection, schema: str) -> tuple[Table, ...]:
    """The tables of *schema*, by name; a partitioned one is one table."""
    cursor = await connection.execute(_TABLES.encode(), (quote_identifier(schema),))
    return tuple(
        Table(name, tuple(columns), tuple(keys), tuple(identity), tuple(generated), tuple(types))
        for name, columns, identity, generated, keys, types in await cursor.fetchall()
    )


async def fingerprint(connection: Connection, schema: str) -> str:
    """A digest of how the tables are built: equal where a row of the one fits the other. In autocommit.

    Names, types, collations, defaults, generated columns, keys, checks, indexes, partitions, triggers, rules,
    and the types of the schema. Neither the schema's own name nor the order of columns counts, nor what
    a move has put there.
    """
    lines = await read_structure(connection, schema)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


async def read_structure(connection: Connection, schema: str) -> list[str]:
    """What `fingerprint` digests: how the tables are built, a line for each thing, for people to read."""
    async with connection.transaction():
        # What is in the search path is printed without its schema. Ours comes last: nothing in it is called.
        await connection.execute(
            "SELECT set_config('search_path', %s, true)", (f"pg_catalog, {quote_identifier(schema)}",)
        )
        text = resources.files("moves").joinpath("data", "structure.sql").read_text(encoding="utf-8")
        cursor = await connection.execute(text.encode(), {"schema": quote_identifier(schema)})
        return [row[0] for row in await cursor.fetchall()]
