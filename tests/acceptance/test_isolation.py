"""Hostile SQL at the door: on no tier does it return, write or learn another tenant's rows.

An upstream service with an SQL injection is our normal case, so any text is tried that may
come through one. Each statement runs as an attacker beside a victim on the same cluster.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.conftest import Operator, Running, superuser
from tests.acceptance.reach import tenant_of
from tests.support.http import Door
from tiergate.tenant import Tier

EVERYTHING = (
    "SELECT md5(string_agg(md5(t::text), '' ORDER BY md5(t::text)))"
    " FROM (SELECT to_jsonb(m) FROM members AS m UNION ALL SELECT to_jsonb(p) FROM projects AS p"
    " UNION ALL SELECT to_jsonb(k) FROM tasks AS k) AS t"
)
SESSION = (
    "SELECT current_setting('statement_timeout')::interval BETWEEN '10 s' AND '30 s',"
    " current_setting('lock_timeout'), current_setting('timezone'), current_setting('transaction_read_only'),"
    " current_setting('transaction_isolation')"
)


@dataclass(frozen=True, slots=True)
class Duel:
    """An attacker and a victim on one tier.

    Attributes:
        place: The victim's place.
        mark: In a name and in an address of the victim's rows, and nowhere else.
        seen: What the victim saw before of its rows and of its session.
    """

    door: Door
    attacker: str
    key: str
    victim: str
    victims_key: str
    place: str
    mark: str
    seen: object

    def aimed(self, text: str) -> str:
        """*text* with the victim's names in it."""
        return text.replace("VICTIM", self.victim).replace("PLACE", self.place)

    async def attack(self, text: str) -> httpx.Response:
        """The answer to *text*; after it the victim is as it was, and so is the next session."""
        answer = await self.door.ask(self.key, self.aimed(text), neon_array_mode="true")
        assert await look(self.door, self.victims_key) == self.seen
        return answer


async def look(door: Door, key: str) -> object:
    """A tenant's rows, as a hash, and its session."""
    answer = await door.batch(key, EVERYTHING, SESSION)
    return [result["rows"] for result in answer.json()["results"]]


async def meet(gateway: Running, door: Door, operator: Operator, tier: Tier) -> Duel:
    attacker, tenant = tenant_of(gateway, tier)
    victim, victims_key = await operator.create_tenant(tier.value)
    mark = secrets.token_hex(12)
    member = (
        "INSERT INTO members (id, email, name)"
        f" VALUES (md5('{victim} member')::uuid, '{mark}@victim.example', 'secret {mark}') RETURNING id"
    )
    [[member_id]] = await door.rows(victims_key, member)
    await door.rows(
        victims_key,
        "INSERT INTO projects (id, slug, name, owner_id) VALUES ($1::uuid, 'secret', $2, $1::uuid)",
        member_id,
        f"secret {mark}",
    )
    place = (await operator.client.get(f"/tenants/{victim}")).json()["place"]
    seen = await look(door, victims_key)
    return Duel(door, attacker, tenant.key, victim, victims_key, place, mark, seen)


@pytest.fixture(scope="module")
async def duels(gateway: Running, door: Door, operator: Operator) -> dict[Tier, Duel]:
    return {tier: await meet(gateway, door, operator, tier) for tier in Tier}


@pytest.fixture(params=list(Tier))
def duel(request: pytest.FixtureRequest, duels: dict[Tier, Duel]) -> Duel:
    return duels[Tier(request.param)]


UTILITY = [
    "SET ROLE tiergate_owner", "SET LOCAL ROLE tiergate_owner", "RESET ROLE", "RESET ALL",
    "SET SESSION AUTHORIZATION postgres", "RESET SESSION AUTHORIZATION", "SET row_security = off",
    "SET tiergate.context = 'x'", "SET search_path = PLACE", "SET statement_timeout = 0",
    "SET TRANSACTION READ WRITE", "SHOW tiergate.context", "SHOW ALL", "BEGIN", "COMMIT", "ROLLBACK", "END",
    "ABORT", "SAVEPOINT s", "PREPARE TRANSACTION 'x'", "COMMIT AND CHAIN", "START TRANSACTION",
    "PREPARE tg1 AS SELECT 1", "EXECUTE tg1", "DEALLOCATE ALL", "DISCARD ALL",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH 1 FROM c", "MOVE 1 FROM c", "CLOSE ALL",
    "LISTEN x", "NOTIFY x, 'y'", "UNLISTEN *", "LOCK TABLE members", "TRUNCATE members",
    "DO $$BEGIN PERFORM set_config('role', 'none', true); END$$", "CALL tiergate.enter()",
    "COPY members TO STDOUT", "COPY members FROM STDIN", "COPY (SELECT 1) TO PROGRAM 'id'",
    "EXPLAIN EXECUTE x", "EXPLAIN CREATE TABLE t AS SELECT 1", "ANALYZE members", "VACUUM",
    "CREATE TABLE t (a int)", "CREATE TEMP TABLE members (a int)", "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE EXTENSION dblink",
    "CREATE SCHEMA s", "CREATE ROLE r SUPERUSER", "ALTER TABLE members DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE members NO FORCE ROW LEVEL SECURITY", "ALTER ROLE CURRENT_USER SET row_security = off",
    "DROP POLICY tiergate_tenant ON members", "DROP TABLE members", "DROP SCHEMA PLACE CASCADE",
    "GRANT ALL ON members TO PUBLIC", "REASSIGN OWNED BY tiergate_owner TO CURRENT_USER",
    "LOAD 'auto_explain'", "CHECKPOINT", "REINDEX TABLE members", "CLUSTER members",
    "REFRESH MATERIALIZED VIEW v", "IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y",
    "SECURITY LABEL ON TABLE members IS 'x'",
    "COMMENT ON TABLE members IS 'x'", "ALTER SYSTEM SET log_statement = 'all'", "CREATE DATABASE d",
]  # fmt: skip
DRESSES = [
    "/* SELECT */ {}", "/*/**/*/{}", "-- SELECT\n{}", " \t\r\n\f{}", "{};", "({})", "SELECT 1; {}",
    "{}; SELECT 1", "WITH a AS (SELECT 1) {}", "WITH RECURSIVE a AS ({}) SELECT 1",
]  # fmt: skip


@pytest.mark.parametrize("text", UTILITY)
async def test_nothing_but_queries_and_changes_of_rows_runs(text: str, duel: Duel) -> None:
    answer = await duel.attack(text)

    assert answer.status_code == 400
    assert answer.json()["code"] == "0A000"


@pytest.mark.parametrize("text", UTILITY)
async def test_nothing_else_runs_however_it_is_dressed(text: str, duels: dict[Tier, Duel]) -> None:
    duel = duels[Tier.STANDARD]
    texts = [duel.aimed(dress.format(text)) for dress in DRESSES]
    answers = await asyncio.gather(*(duel.door.ask(duel.key, dressed) for dressed in texts))

    for answer, dressed in zip(answers, texts, strict=True):
        assert answer.status_code == 400, dressed
        assert answer.json()["code"] in {"0A000", "42601"}, dressed


REFUSALS = {
    "0A000", "23503", "3F000", "42501", "42601", "42703", "42809", "428C9", "42883", "42P01", "55000",
    "TG002",
}  # fmt: skip
FORBIDDEN = [
    # the context and the session
    "SELECT set_config('tiergate.context', 'x', true)",
    "SELECT set_config('tiergate.context', 'x', false)",
    "SELECT set_config('role', 'none', false)",
    "SELECT set_config('role', 'tiergate_owner', true)",
    "SELECT set_config('search_path', 'PLACE', false)",
    "SELECT set_config('statement_timeout', '0', false)",
    "SELECT set_config('row_security', 'off', true)",
    "SELECT pg_catalog.set_config('role', 'none', true) FROM members",
    "INSERT INTO members (email, name) SELECT 'a@b', set_config('role', 'none', false)",
    "UPDATE members SET name = set_config('role', 'none', false)",
    "DELETE FROM members WHERE set_config('role', 'none', false) = 'none'",
    "VALUES (set_config('role', 'none', false))",
    "(SELECT set_config('role', 'none', false))",
    "WITH a AS MATERIALIZED (SELECT set_config('role', 'none', false)) SELECT * FROM a",
    "SELECT * FROM set_config('role', 'none', false)",
    "SELECT * FROM ROWS FROM (set_config('role', 'none', false))",
    "SELECT 1 ORDER BY set_config('role', 'none', false)",
    "SELECT 1 LIMIT length(set_config('role', 'none', false))",
    "UPDATE pg_settings SET setting = 'off' WHERE name = 'row_security'",
    "UPDATE pg_settings SET setting = 'x' WHERE name = 'tiergate.context'",
    "SELECT tiergate.enter('VICTIM', 'PLACE', 1, 1, 9999999999, repeat('0', 64), 1000)",
    "SELECT tiergate.protect('members')",
    "SELECT * FROM tiergate.context_key",
    "SELECT inner_pad FROM tiergate.context_key WHERE kid = 1",
    "SELECT * FROM tiergate.fence",
    "UPDATE tiergate.fence SET state = 'suspended'",
    "DELETE FROM tiergate.fence",
    "INSERT INTO tiergate.fence VALUES ('x', 'y', 1, 'active')",
    "SELECT * FROM tiergate.application",
    # other sessions, and the server
    "SELECT pg_advisory_lock(1)",
    "SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200000) AS g",
    "SELECT pg_advisory_xact_lock(g) FROM generate_series(1, 200000) AS g",
    "SELECT pg_try_advisory_lock_shared(1413959000, hashtext('VICTIM'))",
    "SELECT s.pg_advisory_lock FROM generate_series(1::bigint, 9) AS s",
    "SELECT (4711).pg_cancel_backend",
    "SELECT (4711).pg_terminate_backend",
    "SELECT (0.1::float8).pg_sleep",
    "SELECT (0.5::float8).setseed",
    "SELECT ('x'::text).pg_notify",
    "SELECT ('/etc/passwd'::text).pg_read_file",
    "SELECT ('members'::regclass).pg_relation_size",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_cancel_backend(1)",
    "SELECT pg_sleep(100)",
    "SELECT pg_notify('x', 'y')",
    "SELECT * FROM pg_listening_channels()",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_stat_get_activity(NULL)",
    "SELECT pg_stat_get_backend_activity(1)",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_lock_status()",
    "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_prepared_statement()",
    "SELECT * FROM pg_prepared_xacts",
    "SELECT * FROM pg_cursors",
    "SELECT * FROM pg_stat_user_tables",
    "SELECT * FROM pg_stat_database",
    "SELECT pg_stat_get_live_tuples('members'::regclass)",
    "SELECT pg_stat_reset()",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_logical_emit_message(true, 'a', 'b')",
    "SELECT pg_create_logical_replication_slot('a', 'b')",
    "SELECT pg_export_snapshot()",
    "SELECT setseed(0.5)",
    "SELECT lastval()",
    "SELECT txid_current()",
    "SELECT pg_current_xact_id()",
    "SELECT pg_current_snapshot()",
    "SELECT pg_current_wal_lsn()",
    "SELECT age('3'::xid)",
    "SELECT current_setting('data_directory')",
    "SELECT current_setting('tiergate.context')",
    "SELECT current_setting('tiergate.context', true)",
    "SELECT current_setting('tiergate.' || 'context')",
    "SELECT ('tiergate.context'::text).current_setting",
    "SELECT tiergate.secret()",
    "SELECT current_user, session_user, system_user, current_database()",
    "SELECT * FROM pg_settings",
    "SELECT * FROM pg_class",
    "SELECT * FROM information_schema.tables",
    # samples and sizes of everybody's rows
    "SELECT * FROM pg_stats",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_stats_ext_exprs",
    "SELECT pg_relation_size('members')",
    "SELECT pg_database_size(current_database())",
    "SELECT pg_relation_filepath('members')",
    "SELECT ctid FROM members",
    "SELECT xmin, xmax FROM members",
    "SELECT tableoid FROM members",
    "SELECT currtid2('members', '(0,1)')",
    "SELECT * FROM heap_page_items(get_raw_page('members', 0))",
    # text that becomes SQL, files, other servers
    "SELECT query_to_xml('SELECT * FROM members', true, true, '')",
    "SELECT table_to_xml('members', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT cursor_to_xml('c', 1, true, true, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM members')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')",
    "SELECT * FROM dblink('host=127.0.0.1', 'SELECT 1') AS t (a int)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('global/pg_control')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_from_bytea(4711, 'x')",
    "SELECT lo_get(4711)",
    "SELECT (4711::oid).lo_get",
    "SELECT * FROM pg_largeobject",
    # roles, places and what else is there
    "SELECT * FROM pg_roles",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM pg_db_role_setting",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_file_settings",
    "SELECT * FROM pg_user_mappings",
    "SELECT * FROM pg_shdepend",
    # objects of one's own, to lie in wait
    "SELECT 1 AS a INTO planted",
    "SELECT 1 AS a INTO TEMP planted",
    "SELECT 1 AS a INTO public.planted",
    "WITH a AS (SELECT 1 AS a) SELECT * INTO TEMP planted FROM a",
    "(SELECT 1 AS a INTO TEMP planted)",
    # another tenant's rows
    "INSERT INTO members (tenant_id, email, name) VALUES ('VICTIM', 'a@b', 'planted')",
    (
        "INSERT INTO members (tenant_id, id, email, name)"
        " VALUES ('VICTIM', md5('VICTIM member')::uuid, 'a@b', 'c') ON CONFLICT DO NOTHING"
    ),
    (
        "INSERT INTO members (tenant_id, id, email, name)"
        " VALUES ('VICTIM', md5('VICTIM member')::uuid, 'a@b', 'c')"
        " ON CONFLICT (tenant_id, id) DO UPDATE SET name = 'overwritten' RETURNING *"
    ),
    (
        "INSERT INTO projects (tenant_id, slug, name, owner_id)"
        " VALUES ('VICTIM', 'secret', 'x', md5('VICTIM member')::uuid)"
    ),
    "UPDATE members SET tenant_id = 'VICTIM'",
    "UPDATE members SET tenant_id = 'VICTIM' WHERE false",
    "UPDATE members SET tenant_id = DEFAULT",
    "MERGE INTO members AS m USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET tenant_id = 'VICTIM'",
    (
        "MERGE INTO members AS m USING (VALUES ('VICTIM')) AS s (t) ON m.tenant_id = s.t"
        " WHEN NOT MATCHED THEN INSERT (tenant_id, email, name) VALUES (s.t, 'a@b', 'planted')"
    ),
    "INSERT INTO projects (slug, name, owner_id) VALUES ('x', 'x', md5('VICTIM member')::uuid)",
    "INSERT INTO tasks (project_id, number, title) VALUES (md5('VICTIM member')::uuid, 1, 'x')",
    "SELECT * FROM PLACE.members",
    "SELECT * FROM PLACE.app.members",
    "INSERT INTO PLACE.members (email, name) VALUES ('a@b', 'planted')",
    "UPDATE PLACE.members SET name = 'overwritten'",
    "DELETE FROM PLACE.members",
]


@pytest.mark.parametrize("text", FORBIDDEN)
async def test_what_would_reach_beyond_the_tenant_is_refused(text: str, duel: Duel) -> None:
    answer = await duel.attack(text)

    assert not answer.is_success, answer.text
    assert answer.json()["code"] in REFUSALS, answer.text
    assert duel.mark not in answer.text
    assert duel.victim not in answer.text.replace(duel.aimed(text), "")


OWN_ROWS_ONLY = [
    "SELECT * FROM members",
    "TABLE members",
    "(TABLE members) UNION ALL (TABLE members)",
    "SELECT * FROM members WHERE tenant_id = 'VICTIM'",
    "SELECT * FROM members WHERE tenant_id <> tiergate.tenant()",
    "SELECT * FROM members WHERE true OR tenant_id = 'VICTIM'",
    "SELECT * FROM members WHERE id = md5('VICTIM member')::uuid",
    "SELECT m FROM members AS m WHERE m::text LIKE '%secret%'",
    "SELECT to_jsonb(m) FROM members AS m",
    "SELECT json_agg(m) FROM members AS m",
    "SELECT string_agg(name, ',') FROM members",
    "SELECT count(*), count(DISTINCT tenant_id), min(tenant_id), max(tenant_id) FROM members",
    "SELECT * FROM members TABLESAMPLE SYSTEM (100)",
    "SELECT * FROM members FOR UPDATE",
    "SELECT * FROM members AS m, LATERAL (SELECT * FROM members AS o WHERE o.tenant_id <> m.tenant_id) AS x",
    "SELECT * FROM members AS a FULL JOIN projects AS b ON a.tenant_id <> b.tenant_id",
    "SELECT (SELECT name FROM members WHERE tenant_id = 'VICTIM' LIMIT 1)",
    "SELECT EXISTS (SELECT 1 FROM members WHERE tenant_id = 'VICTIM')",
    "WITH RECURSIVE r AS (TABLE members UNION SELECT m.* FROM members AS m JOIN r USING (id)) TABLE r",
    "WITH a AS (UPDATE members SET name = name RETURNING *) SELECT * FROM a",
    "WITH a AS (DELETE FROM members WHERE tenant_id = 'VICTIM' RETURNING *) SELECT * FROM a",
    "UPDATE members SET name = name RETURNING *",
    "UPDATE members SET name = 'overwritten' WHERE tenant_id = 'VICTIM' RETURNING *",
    "DELETE FROM members WHERE tenant_id = 'VICTIM' RETURNING *",
    "MERGE INTO members AS m USING (SELECT 1) AS s ON m.tenant_id = 'VICTIM' WHEN MATCHED THEN DELETE",
    "SELECT 1 / (CASE WHEN tenant_id = 'VICTIM' THEN 0 ELSE 1 END) FROM members",
    "SELECT name FROM members WHERE name::int > 0",
    "SELECT name FROM members WHERE (email || name)::jsonb IS NOT NULL",
    "SELECT tiergate.tenant()",
    "SELECT * FROM tiergate_q",
]


@pytest.mark.parametrize("text", OWN_ROWS_ONLY)
async def test_what_may_be_asked_shows_own_rows_only(text: str, duel: Duel) -> None:
    answer = await duel.attack(text)

    assert duel.mark not in answer.text
    assert duel.victim not in answer.text.replace(duel.aimed(text), "")
    fields = [field["name"] for field in answer.json().get("fields", ())]
    if "tenant_id" in fields:
        assert {row[fields.index("tenant_id")] for row in answer.json()["rows"]} <= {duel.attacker, None}


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_plans_are_seen_where_the_tables_are_ones_own(tier: Tier, duels: dict[Tier, Duel]) -> None:
    answer = await duels[tier].attack("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM members")

    assert answer.is_success, answer.text


async def test_plans_are_not_seen_where_their_estimates_tell_of_others(duels: dict[Tier, Duel]) -> None:
    answer = await duels[Tier.STANDARD].attack("EXPLAIN SELECT * FROM members")

    assert (answer.status_code, answer.json()["code"]) == (400, "0A000")


async def test_a_key_that_is_taken_elsewhere_can_be_taken_here(duel: Duel) -> None:
    """So that no conflict tells what others have."""
    taken = (
        "WITH a AS (INSERT INTO members (id, email, name)"
        f" VALUES (md5('{duel.victim} member')::uuid, '{duel.mark}@victim.example', 'x')"
        " ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM a"
    )

    answers = await duel.door.batch(duel.key, taken, "DELETE FROM members WHERE name = 'x'")

    assert answers.json()["results"][0]["rows"] == [{"count": "1"}]
    assert answers.json()["results"][1]["rowCount"] == 1
    assert await look(duel.door, duel.victims_key) == duel.seen


async def test_a_session_keeps_nothing_of_the_tenant_before(duel: Duel) -> None:
    before = "SELECT count(*) FROM members"
    texts = ["SELECT min(tenant_id), max(tenant_id) FROM members", SESSION]
    for _ in range(20):
        mine = await duel.door.batch(duel.key, before, *texts)
        others = await duel.door.batch(duel.victims_key, before, *texts)

        assert json.dumps(mine.json()).count(duel.attacker) >= 2
        assert duel.victim not in mine.text
        assert duel.attacker not in others.text


async def test_a_failure_in_the_middle_leaves_the_next_tenant_its_own_session(duel: Duel) -> None:
    async def fail() -> None:
        await duel.door.batch(duel.key, "SELECT count(*) FROM members", "SELECT 1 / 0")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(fail())
        seen = [tasks.create_task(look(duel.door, duel.victims_key)) for _ in range(20)]

    assert all(task.result() == duel.seen for task in seen)


async def test_the_login_of_the_pool_owns_nothing_and_cannot_pass_row_level_security(
    duel: Duel, gateway: Running
) -> None:
    tier = gateway.tenants[duel.attacker].tier
    own = conninfo_to_dict(await gateway.direct(duel.attacker))
    login, database = own["user"], str(own["dbname"])
    async with await psycopg.AsyncConnection.connect(await superuser(gateway, tier, database)) as onlooker:
        cursor = await onlooker.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication,"
            " (SELECT count(*) FROM pg_class WHERE relowner = r.oid),"
            " (SELECT count(*) FROM pg_proc WHERE proowner = r.oid),"
            " (SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace"
            "  WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)"
            "  AND nspname <> ALL ('{pg_catalog,information_schema,tiergate,pg_toast}')"
            "  AND has_table_privilege(r.oid, c.oid, 'SELECT'))"
            " FROM pg_roles AS r WHERE rolname = %s",
            (login,),
        )
        found = await cursor.fetchone()

    assert found == (False, False, False, False, False, 0, 0, 0)
