"""What attacks are about: tenants' rows, and the superuser's eye on them and on the server."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

LOOK_ROWS = (
    "SELECT count(*) || md5(string_agg(md5(t::text), '' ORDER BY md5(t::text)))"
    " FROM (SELECT to_jsonb(m) FROM members AS m UNION ALL SELECT to_jsonb(p) FROM projects AS p) AS t"
)
LOOK_SESSION = "SELECT concat_ws(' ', {})".format(
    ", ".join(
        f"current_setting('{name}')"
        for name in (
            "search_path", "row_security", "role", "session_authorization", "transaction_isolation",
            "transaction_read_only", "default_transaction_read_only", "default_transaction_isolation",
            "lock_timeout", "timezone", "datestyle", "client_encoding", "bytea_output", "enable_indexscan",
            "standard_conforming_strings", "session_replication_role", "application_name", "work_mem",
            "client_min_messages", "statement_timeout",
        )
    )
    + ", current_setting('app.is_admin', true)"
)  # fmt: skip
# What an attack may leave behind. Settings and rights, what is planted, what is kept locked. Temporary
# schemas stay for good once they were used, so only what is in them counts.
_STATE = b"""
SELECT md5(concat_ws('|',
    (SELECT string_agg(concat_ws(' ', oid, relname, relnamespace, relowner, relrowsecurity,
        relforcerowsecurity, relhastriggers, relhasrules, relnatts, relacl), ',' ORDER BY oid)
     FROM pg_class WHERE oid >= 16384 AND relkind <> 't' AND relname NOT LIKE 'pg_toast%'),
    (SELECT string_agg(concat_ws(' ', oid, proname, md5(prosrc), proacl), ',' ORDER BY oid)
     FROM pg_proc WHERE oid >= 16384 OR proacl IS NOT NULL),
    (SELECT string_agg(concat_ws(' ', oid, nspname, nspowner, nspacl), ',' ORDER BY oid)
     FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'),
    (SELECT string_agg(concat_ws(' ', p.*), ',' ORDER BY oid) FROM pg_policy AS p),
    (SELECT string_agg(concat_ws(' ', r.oid, rolname, rolsuper, rolbypassrls, rolcreaterole), ','
        ORDER BY r.oid) FROM pg_roles AS r),
    (SELECT string_agg(concat_ws(' ', s.*), ',' ORDER BY setrole, setdatabase) FROM pg_db_role_setting AS s),
    (SELECT string_agg(concat_ws(' ', roleid, member), ',' ORDER BY roleid, member) FROM pg_auth_members),
    (SELECT count(*) FROM pg_type WHERE typrelid = 0), (SELECT count(*) FROM pg_operator),
    (SELECT count(*) FROM pg_cast), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_rewrite),
    (SELECT count(*) FROM pg_largeobject_metadata), (SELECT md5(string_agg(data, '')) FROM pg_largeobject),
    (SELECT count(*) FROM pg_prepared_xacts), (SELECT count(*) FROM pg_replication_slots),
    (SELECT count(*) FROM pg_database), (SELECT count(*) FROM pg_extension),
    (SELECT count(*) FROM pg_description),
    (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_publication),
    (SELECT count(*) FROM pg_collation), (SELECT count(*) FROM pg_conversion),
    (SELECT count(*) FROM pg_statistic_ext)
)) || (SELECT coalesce(string_agg(DISTINCT concat_ws(' ', ' keeps', locktype, mode), ','), '')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE state IS DISTINCT FROM 'active' AND backend_type = 'client backend'
        AND usesysid IN (SELECT oid FROM pg_roles WHERE NOT rolsuper))
"""
_SEED = """
INSERT INTO {0}.members (tenant_id, id, email, name, roles, preferences)
SELECT %(tenant)s, md5(%(mark)s || i)::uuid, %(mark)s || coalesce(nullif(i, 0)::text, '') || '@' || %(at)s,
    'secret ' || %(mark)s, ARRAY[%(mark)s], jsonb_build_object('mark', %(mark)s)
FROM generate_series(0, 39) AS i;
"""
_SEED_PROJECT = """
INSERT INTO {0}.projects (tenant_id, slug, name, owner_id)
VALUES (%(tenant)s, %(mark)s, 'secret ' || %(mark)s, md5(%(mark)s || 0)::uuid)
"""
_CHANGE = """
INSERT INTO {0}.members (tenant_id, email, name)
SELECT %(tenant)s, 'changed' || i || '@x', 'changed' || repeat('x', 200) FROM generate_series(1, 400) AS i
"""


@dataclass(frozen=True, slots=True)
class Party:
    """A tenant, where its rows are, and what only it may know.

    Attributes:
        conninfo: The superuser's, for the database that the rows are in.
        mark: In every row, and nowhere else.
        names: Of its place, which others must not see.
    """

    tenant: str
    conninfo: str
    schema: str
    names: frozenset[str] = frozenset()
    mark: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def member(self) -> str:
        """The id that `_SEED` gives to its first member."""
        return str(UUID(hashlib.md5(f"{self.mark}0".encode()).hexdigest()))  # noqa: S324 - a name, no secret

    async def seed(self, connection: psycopg.AsyncConnection[TupleRow], at: str) -> None:
        """Put rows in, in place of what is there."""
        given = {"tenant": self.tenant, "mark": self.mark, "at": at}
        for table in ("tasks", "projects", "members"):
            gone = sql.SQL("DELETE FROM {}.{} WHERE tenant_id = %s")
            await connection.execute(
                gone.format(sql.Identifier(self.schema), sql.Identifier(table)), [self.tenant]
            )
        for text in (_SEED, _SEED_PROJECT):
            await connection.execute(sql.SQL(text).format(sql.Identifier(self.schema)), given)


@dataclass(slots=True)
class Ground:
    """The superuser's side of one duel.

    Attributes:
        bystander: A session of the victim's that does nothing, and must go on doing so.
        blob: A large object of nobody's.
    """

    attacker: Party
    victim: Party
    hidden: Party
    admin: psycopg.AsyncConnection[TupleRow]
    mine: psycopg.AsyncConnection[TupleRow]
    bystander_conninfo: str
    blob: int
    bystander: psycopg.AsyncConnection[TupleRow] | None = None

    @property
    def pid(self) -> int:
        """The server process of the bystander."""
        assert self.bystander is not None
        return self.bystander.info.backend_pid

    async def mend(self) -> None:
        """Make everything as it was at the beginning, as far as rows go, and put the bystander back."""
        for connection in (self.admin, self.mine):
            await _end_prepared(connection)
        await self.victim.seed(self.admin, "victim.example")
        await self.hidden.seed(self.admin, "hidden.example")
        await self.mend_attacker()
        for party, connection in ((self.victim, self.admin), (self.attacker, self.mine)):
            name = sql.Identifier(party.schema)
            await connection.execute(sql.SQL("ANALYZE {0}.members").format(name))
        await self._place_bystander()

    async def mend_attacker(self) -> None:
        """Give the attacker its rows back; where it has tables of its own, those alone."""
        attacker, victim = self.attacker, self.victim
        if (attacker.conninfo, attacker.schema) != (victim.conninfo, victim.schema):
            for table in ("tasks", "projects", "members"):
                gone = sql.SQL("DELETE FROM {}.{}")
                await self.mine.execute(gone.format(sql.Identifier(attacker.schema), sql.Identifier(table)))
        await attacker.seed(self.mine, "me.example")

    async def _place_bystander(self) -> None:
        if self.bystander is not None:
            await self.bystander.close()
        self.bystander = await psycopg.AsyncConnection.connect(self.bystander_conninfo, autocommit=True)
        await self.is_left_alone()

    async def is_left_alone(self) -> bool:
        """Whether the bystander is still there; its last statement tells a secret to who sees it."""
        assert self.bystander is not None
        try:
            await self.bystander.execute(f"SELECT 'secret {self.victim.mark}'".encode())
        except psycopg.Error:
            return False
        return True

    async def state(self) -> str:
        """What is in the victim's database and on the server, but for rows; empty when it cannot be asked."""
        found = await (await self.admin.execute(_STATE)).fetchone()
        return str(found[0]) if found else ""

    @asynccontextmanager
    async def changed(self) -> AsyncIterator[None]:
        """While it lasts, the victim has more rows, there is one more place, and statistics know of it."""
        victim = self.victim
        name = sql.Identifier(victim.schema)
        await self.admin.execute(sql.SQL(_CHANGE).format(name), {"tenant": victim.tenant})
        await self.admin.execute(
            "CREATE SCHEMA changed; CREATE TABLE changed.members (a integer PRIMARY KEY, b text)"
        )
        await self._tell_statistics(name)
        try:
            yield
        finally:
            await self.admin.execute("DROP SCHEMA changed CASCADE")
            gone = sql.SQL("DELETE FROM {}.members WHERE tenant_id = %s AND name LIKE 'changed%%'")
            await self.admin.execute(gone.format(name), [victim.tenant])
            await self._tell_statistics(name)

    async def _tell_statistics(self, schema: sql.Identifier) -> None:
        await self.admin.execute(sql.SQL("ANALYZE {0}.members").format(schema))
        await self.admin.execute("ANALYZE pg_catalog.pg_class, pg_catalog.pg_attribute")
        await self.admin.execute("SELECT pg_stat_force_next_flush()")


@asynccontextmanager
async def open_ground(
    attacker: Party, victim: Party, hidden: Party, bystander_conninfo: str
) -> AsyncIterator[Ground]:
    """The ground of a duel, with rows in it."""
    async with (
        await psycopg.AsyncConnection.connect(victim.conninfo, autocommit=True) as admin,
        await psycopg.AsyncConnection.connect(attacker.conninfo, autocommit=True) as mine,
    ):
        made = await (await admin.execute("SELECT lo_from_bytea(0, 'a secret')")).fetchone()
        assert made is not None
        ground = Ground(attacker, victim, hidden, admin, mine, bystander_conninfo, made[0])
        try:
            await ground.mend()
            yield ground
        finally:
            if ground.bystander is not None:
                await ground.bystander.close()


async def _end_prepared(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Undo transactions that were prepared, since nothing else ever ends them."""
    found = await connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    for (gid,) in await found.fetchall():
        await connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def database_of(conninfo: str) -> str:
    """The name of the database that a conninfo leads to."""
    return str(conninfo_to_dict(conninfo)["dbname"])
