"""Two databases, a tenant in the one, and tables of every awkward kind to bring to the other."""

import random
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from psycopg import errors as pg

from fleet.access import Connection
from fleet.application import ApplicationSql
from moves.capture import count_dirty, install, remove
from moves.copying import copy_chunk
from moves.ends import End, Way, open_end
from moves.passes import Pass, open_pass
from moves.tables import Table, read_tables
from registry.moves import MoveId
from tests.support.places import Places, open_places
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

OWN = "tenant_id text NOT NULL DEFAULT tiergate.tenant()"
ODD = ApplicationSql(
    (
        (
            "tables.sql",
            f"""
CREATE TYPE mood AS ENUM ('wild', 'calm', 'braces {{}} and 100%');
CREATE DOMAIN code AS text CHECK (value <> 'bad');
CREATE TABLE people (
    {OWN}, id bigint GENERATED ALWAYS AS IDENTITY, email text, seat integer, note text,
    twice integer GENERATED ALWAYS AS (seat * 2) STORED,
    "doc ""%s, x" jsonb, blob bytea, tags text[], amount numeric, at timestamptz, ratio double precision,
    mood mood DEFAULT 'wild', span interval, spare text,
    PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, email)
);
ALTER TABLE people DROP COLUMN spare;
CREATE TABLE seats (
    {OWN}, id integer, place integer, row_no integer,
    PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, place) DEFERRABLE,
    EXCLUDE USING btree (tenant_id WITH =, row_no WITH =)
);
CREATE TABLE one (tenant_id text DEFAULT tiergate.tenant() PRIMARY KEY, body text);
CREATE TABLE "Odd %s ""words" (
    {OWN}, lang code, "the, word" text, mood mood, at timestamptz, body text,
    PRIMARY KEY (tenant_id, lang, "the, word", mood, at)
);
CREATE TABLE events (
    {OWN}, day date, id integer, body text, PRIMARY KEY (tenant_id, day, id)
) PARTITION BY RANGE (day);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE replies (
    {OWN}, id uuid DEFAULT gen_random_uuid(), seat integer, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, seat) REFERENCES seats (tenant_id, id) ON DELETE CASCADE ON UPDATE CASCADE
);
""",
        ),
    )
)
TEXTS = (
    "",
    " ",
    "\t\n\\",
    "\\N",
    "\\.",
    "naïve ‰ 日本語 🐘",
    "a'b\"c",
    "%s",
    "Zebra",
    "zebra",
    "Äpfel",
    "apple",
    "-a b",
)
# What a tenant writes: {t} is the tenant, {n} a small number, {s} a text, {w} a wide text.
PERSON = """INSERT INTO people (tenant_id, email, seat, note, "doc ""%s, x", blob, tags, amount, at, ratio,
    mood, span) VALUES ({t}, {n}::text || {s}, {n}, {s}, jsonb_build_object({s}, {s}, 'w', {w}),
    convert_to({w}, 'UTF8'), ARRAY[{s}, NULL, {s}], {n} / 7.0, now() - {n} * interval '7 minutes',
    1 / {n}::float8, 'calm', {n} * interval '1 month 1 second')"""
STATEMENTS = (
    PERSON,
    PERSON,
    "INSERT INTO seats VALUES ({t}, {n}, {n} * 100 + {n}, {n} * 100 + {n})",
    """INSERT INTO seats VALUES ({t}, {n}, {n}, {n} * 100 + {n})
    ON CONFLICT (tenant_id, id) DO UPDATE SET row_no = excluded.row_no""",
    "INSERT INTO one VALUES ({t}, {s}) ON CONFLICT (tenant_id) DO UPDATE SET body = excluded.body",
    "DELETE FROM one WHERE tenant_id = {t} AND {n} % 2 = 0",
    """INSERT INTO "Odd %s ""words" VALUES ({t}, {s}, {s}, 'calm', date '2026-01-01' + {n}, {s})
    ON CONFLICT DO NOTHING""",
    """INSERT INTO "Odd %s ""words" SELECT {t}, {s}, {s}, 'braces {} and 100%', now(), {s}""",
    """INSERT INTO events SELECT {t}, date '2025-12-20' + i, {n}, {s} FROM generate_series(1, 24) AS i
    ON CONFLICT DO NOTHING""",
    "INSERT INTO replies (tenant_id, seat) SELECT tenant_id, id FROM seats WHERE tenant_id = {t}",
    "UPDATE people SET note = {s} WHERE tenant_id = {t} AND id % 5 = {n} % 5",
    "UPDATE people SET seat = NULL, blob = NULL WHERE tenant_id = {t} AND id % 9 = {n} % 9",
    """UPDATE people SET "doc ""%s, x" = "doc ""%s, x" || '{"more": 1.50}'
    WHERE tenant_id = {t} AND id % 9 = 1""",
    "UPDATE events SET body = {s} WHERE tenant_id = {t} AND id % 5 = {n} % 5",
    "UPDATE events SET day = day + 30 WHERE tenant_id = {t} AND id = {n}",
    "UPDATE seats SET id = {n} WHERE tenant_id = {t} AND id = {n}",
    """UPDATE "Odd %s ""words" SET "the, word" = {s}, mood = 'wild' WHERE tenant_id = {t} AND lang = {s}""",
    """UPDATE "Odd %s ""words" SET at = at + interval '1 microsecond' WHERE tenant_id = {t} AND lang = {s}""",
    "DELETE FROM people WHERE tenant_id = {t} AND id % 20 = {n} % 20",
    "DELETE FROM seats WHERE tenant_id = {t} AND id = {n}",
    "DELETE FROM events WHERE tenant_id = {t} AND id = {n}",
    # Two rows change their unique values: at once where that is deferrable, else by way of a third value.
    """UPDATE seats AS a SET place = b.place FROM seats AS b, (SELECT {n} AS one, {n} AS two) AS n
    WHERE a.tenant_id = {t} AND b.tenant_id = {t}
    AND (a.id = one AND b.id = two OR a.id = two AND b.id = one)""",
    """CREATE TEMP TABLE swap ON COMMIT DROP AS
    SELECT id, email FROM people WHERE tenant_id = {t} ORDER BY md5(id::text || {n}) LIMIT 2;
    UPDATE people SET email = 'by way of' WHERE tenant_id = {t} AND id = (SELECT min(id) FROM swap);
    UPDATE people SET email = (SELECT email FROM swap ORDER BY id LIMIT 1)
    WHERE tenant_id = {t} AND id = (SELECT max(id) FROM swap);
    UPDATE people SET email = (SELECT email FROM swap ORDER BY id DESC LIMIT 1)
    WHERE tenant_id = {t} AND id = (SELECT min(id) FROM swap)""",
)


async def run_pass(source: Connection, target: Connection, way: Way, tables: Sequence[Table]) -> Pass:
    """A pass with nothing to do inside."""
    async with open_pass(source, target, way, tables) as done:
        return done


async def anybody() -> None:
    """Forbids nothing."""


@dataclass(frozen=True, slots=True)
class Moving:
    """A move of a tenant between two databases, that nobody but the test drives."""

    way: Way
    source: Connection
    target: Connection
    tables: tuple[Table, ...]

    @property
    def tenant(self) -> TenantId:
        """Who moves."""
        return self.way.tenant

    def table(self, name: str) -> Table:
        """One of the tables, by name."""
        return next(table for table in self.tables if table.name == name)

    async def watch(self) -> None:
        """Log the tenant's changes at the source."""
        schema = self.way.source.placement.place.schema
        await install(
            self.source, self.way.move, self.tenant, schema, self.tables, always=True, allowed=anybody
        )

    async def watch_back(self) -> None:
        """Log the tenant's changes at the target, but not a mover's."""
        schema = self.way.target.placement.place.schema
        await install(
            self.target, self.way.move, self.tenant, schema, self.tables, always=False, allowed=anybody
        )

    async def guard_back(self) -> None:
        """Let the move bring rows to the source, which does not serve the tenant any more."""
        await self.source.execute(
            "UPDATE tiergate.fence SET state = 'moved' WHERE tenant_id = %s", (self.tenant,)
        )
        await self.source.execute(
            "INSERT INTO tiergate.import_guard VALUES (%s, %s, %s, %s)",
            (self.tenant, self.way.source.placement.place.id, self.way.move, self.way.attempt),
        )

    async def run_pass(self, *, back: bool = False) -> Pass:
        """Bring over what has changed."""
        if back:
            return await run_pass(self.target, self.source, self.way.back, self.tables)
        return await run_pass(self.source, self.target, self.way, self.tables)

    async def copy(self, *, rows: int = 7) -> None:
        """Bring over all tables, chunk by chunk."""
        for table in self.tables:
            while not (await copy_chunk(self.source, self.target, self.way, table, rows=rows)).is_last:
                pass

    async def dirty(self, *, back: bool = False) -> int:
        """Changes that are logged."""
        return await count_dirty(self.target if back else self.source, self.way.move)

    async def write(self, text: str) -> None:
        """Run SQL at the source as a superuser in its schema; {t} is the tenant, quoted."""
        await run_in(self.source, self.way.source, text.replace("{t}", f"'{self.tenant}'"))

    async def take_unknown_seats(self, rows: int) -> None:
        """Give the tenant seats that the source's statistics do not know of, as they know of others'."""
        fill = "INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, %s) AS i;"
        await self.write("".join(fill.replace("{t}", f"'other-{n}'") % 500 for n in range(4)))
        await self.write("ANALYZE seats")
        await self.write(fill % rows)

    async def write_elsewhere(self, text: str) -> None:
        """The same in a session of its own."""
        async with open_end(self.way.source, Deadline.after(60)) as connection:
            await run_in(connection, self.way.source, text.replace("{t}", f"'{self.tenant}'"))

    async def spoil(self, text: str) -> None:
        """The same at the target."""
        await run_in(self.target, self.way.target, text.replace("{t}", f"'{self.tenant}'"))

    async def rows(self, end: End, *, tenant: str | None = None) -> dict[str, list[str]]:
        """All that the tenant has at one end, each row as the server writes it."""
        connection = self.source if end is self.way.source else self.target
        return {
            table.name: await rows_of(connection, end, table, tenant or self.tenant) for table in self.tables
        }

    async def differences(self) -> dict[str, set[str]]:
        """Rows that only one end has, by table."""
        here, there = await self.rows(self.way.source), await self.rows(self.way.target)
        return {name: found for name in here if (found := set(here[name]) ^ set(there[name]))}


async def run_in(connection: Connection, end: End, text: str) -> None:
    """Run SQL with the place's schema in the search path, all or nothing."""
    async with connection.transaction():
        path = f'"{end.placement.place.schema}", pg_catalog'
        await connection.execute("SELECT set_config('search_path', %s, true)", (path,))
        await connection.execute(text.encode())


async def rows_of(connection: Connection, end: End, table: Table, tenant: str) -> list[str]:
    """The tenant's rows of one table as text, sorted; each is there once."""
    relation = table.within(end.placement.place.schema).replace("%", "%%")
    cursor = await connection.execute(
        f'SELECT t::text FROM {relation} AS t WHERE tenant_id = %s ORDER BY t::text COLLATE "C"'.encode(),
        (tenant,),
    )
    return [row[0] for row in await cursor.fetchall()]


@asynccontextmanager
async def open_pair(
    server: Cluster, application: ApplicationSql = ODD, *, other: Cluster | None = None
) -> AsyncIterator[tuple[Places, Places]]:
    """Two databases with the same application, on one server or on two."""
    async with open_places(server, application) as here, open_places(other or server, application) as there:
        yield here, there


@asynccontextmanager
async def open_moving(pair: tuple[Places, Places], tier: Tier = Tier.PREMIUM) -> AsyncIterator[Moving]:
    """A new standard tenant of the first database, and an empty place on *tier* in the second."""
    here, there = pair
    source = await here.create(Tier.STANDARD)
    made = await there.create(tier)
    target = replace(made, tenant=source.tenant)
    way = Way(
        MoveId(str(uuid.uuid4())),
        source.tenant,
        str(uuid.uuid4()),
        End(here.access, source),
        End(there.access, target),
    )
    deadline = Deadline.after(300)
    async with open_end(way.source, deadline) as first, open_end(way.target, deadline) as second:
        await second.execute("DELETE FROM tiergate.fence WHERE tenant_id = %s", (made.tenant,))
        await second.execute(
            "INSERT INTO tiergate.import_guard VALUES (%s, %s, %s, %s)",
            (way.tenant, target.place.id, way.move, way.attempt),
        )
        try:
            yield Moving(way, first, second, await read_tables(first, source.place.schema))
        finally:
            for connection, end in ((first, way.source), (second, way.target)):
                await remove(connection, way.move, end.placement.place.schema)


class Scribbler:
    """Writes at random, in every way there is, to the odd tables as one tenant."""

    def __init__(self, tenant: str, seed: int) -> None:
        self.tenant = tenant
        self.random = random.Random(seed)

    def statement(self) -> str:
        """The SQL of one transaction, which may be refused for a key."""
        template = self.random.choice(STATEMENTS)
        wide = "(SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 400) AS i)"
        text = template.replace("{w}", wide).replace("{t}", f"'{self.tenant}'")
        return re.sub(r"\{[nst]\}", self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        if found[0] == "{n}":
            return str(self.random.randint(1, 40))
        made = self.random.choice((*TEXTS, f"x{self.random.random()}"))
        return "E'" + made.replace("\\", "\\\\").replace("'", "''") + "'"


async def scribble(connection: Connection, end: End, scribbler: Scribbler, count: int) -> Sequence[str]:
    """*count* transactions; what the keys refuse is left out. What succeeded."""
    done = []
    for _ in range(count):
        text = scribbler.statement()
        try:
            await run_in(connection, end, text)
        except (
            pg.UniqueViolation,
            pg.ExclusionViolation,
            pg.ForeignKeyViolation,
            pg.DeadlockDetected,
            pg.SerializationFailure,
        ):
            continue
        done.append(text)
    return done


async def rows_read(connection: Connection, table: str) -> int:
    """Rows of tables of that name, by anybody so far, by their indexes alone, too; this session included."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    cursor = await connection.execute(
        "SELECT sum(seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE relid = t.relid))"
        " FROM pg_stat_all_tables AS t WHERE relname = %s",
        (table,),
    )
    [(count,)] = await cursor.fetchall()
    return int(count)
