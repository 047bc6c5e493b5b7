"""A tenant's SQL cannot disturb others or learn of them; what clients ask of the catalog is answered."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from registry.placement import Placement
from tests.integration.test_fleet_door import Fleet, ask, enter, login_of, open_fleet, soon
from tests.support.postgres import run_sql
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

CALLS = [
    "set_config('tiergate.context', 'forged', true)",
    "setseed(0.5)",
    "pg_advisory_lock(1)",
    "pg_advisory_lock_shared(1, 2)",
    "pg_advisory_xact_lock(1)",
    "pg_advisory_xact_lock_shared(1, 2)",
    "pg_advisory_unlock_all()",
    "pg_try_advisory_lock(1)",
    "pg_try_advisory_xact_lock_shared(1)",
    "pg_cancel_backend(1)",
    "pg_terminate_backend(1)",
    "pg_notify('channel', 'text')",
    "pg_listening_channels()",
    "pg_notification_queue_usage()",
    "lo_create(0)",
    "lo_creat(-1)",
    "lo_from_bytea(0, 'x')",
    "lo_get(1)",
    "lo_open(1, 262144)",
    "lo_put(1, 0, 'x')",
    "lo_unlink(1)",
    "lo_import('/etc/passwd')",
    "lo_export(1, '/tmp/x')",
    "loread(0, 1)",
    "lowrite(0, 'x')",
    "pg_prepared_statement()",
    "pg_cursor()",
    "pg_logical_emit_message(false, 'a', 'b')",
    "pg_export_snapshot()",
    "pg_sleep(0)",
    "pg_sleep_for('0 s')",
    "pg_sleep_until(now())",
    "query_to_xml('SELECT 1', true, true, '')",
    "query_to_xmlschema('SELECT 1', true, true, '')",
    "table_to_xml('members', true, true, '')",
    "schema_to_xml('app', true, true, '')",
    "database_to_xml(true, true, '')",
    "cursor_to_xml('c', 1, true, true, '')",
    "ts_stat('SELECT ''a''::tsvector')",
    "ts_rewrite('a', 'SELECT ''a''::tsquery, ''b''::tsquery')",
    "pg_stat_get_activity(NULL)",
    "pg_stat_get_backend_activity(1)",
    "pg_stat_get_backend_idset()",
    "pg_stat_get_live_tuples(1)",
    "pg_stat_get_wal_senders()",
    "pg_stat_clear_snapshot()",
    "pg_lock_status()",
    "pg_blocking_pids(1)",
    "txid_current()",
    "txid_status(1)",
    "pg_current_xact_id()",
    "pg_current_snapshot()",
    "pg_xact_commit_timestamp('3')",
    "pg_last_committed_xact()",
    "age('3'::xid)",
    "pg_relation_size('pg_class')",
    "pg_total_relation_size('pg_class')",
    "pg_database_size(current_database())",
    "pg_relation_filepath('pg_class')",
    "pg_tablespace_databases(1663)",
    "pg_read_file('/etc/passwd')",
    "pg_ls_dir('.')",
    "pg_stat_file('postgresql.conf')",
    "pg_current_wal_lsn()",
    "pg_create_logical_replication_slot('s', 'pgoutput')",
    "pg_logical_slot_get_changes('s', NULL, NULL)",
    "pg_control_system()",
    "pg_get_replication_slots()",
    "pg_prepared_xact()",
    "pg_sequence_last_value('pg_class')",
    "lastval()",
    "setval('pg_class', 1)",
    "pg_import_system_collations('pg_catalog')",
    "gin_clean_pending_list('pg_class')",
    "pg_reload_conf()",
    "pg_rotate_logfile()",
    "currtid2('members', '(0,1)')",
    "inet_server_addr()",
    "inet_server_port()",
    "inet_client_addr()",
    "inet_client_port()",
    "pg_describe_object(1260, 10, 0)",
    "pg_identify_object(1260, 10, 0)",
    "pg_identify_object_as_address(1260, 10, 0)",
]
RELATIONS = [
    "pg_stat_activity",
    "pg_stat_user_tables",
    "pg_stat_database",
    "pg_statio_all_tables",
    "pg_stat_replication",
    "pg_stat_progress_vacuum",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_cursors",
    "pg_stats",
    "pg_stats_ext",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_replication_slots",
    "pg_shmem_allocations",
    "pg_backend_memory_contexts",
    "pg_roles",
    "pg_user",
    "pg_authid",
    "pg_auth_members",
    "pg_database",
    "pg_db_role_setting",
    "pg_shdescription",
    "pg_tablespace",
    "pg_hba_file_rules",
]
COUNTS = ["reltuples", "relpages", "relallvisible", "relfilenode", "relfrozenxid", "relminmxid", "xmin"]
HARMLESS = {
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "pg_is_in_recovery",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
}


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


@pytest.fixture(scope="module", params=Tier)
async def placement(request: pytest.FixtureRequest, fleet: Fleet) -> Placement:
    """A tenant that stays for the whole module; nothing here writes."""
    return await fleet.create(Tier(request.param))


@pytest.mark.parametrize("call", CALLS)
async def test_a_tenant_cannot_call(placement: Placement, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"function {call.split('(', 1)[0]}"):
        await ask(placement, f"SELECT {call}")


@pytest.mark.parametrize("relation", RELATIONS)
async def test_a_tenant_cannot_read(placement: Placement, relation: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, f"SELECT * FROM {relation}")


@pytest.mark.parametrize("column", COUNTS)
async def test_a_tenant_does_not_learn_how_much_others_have(placement: Placement, column: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, f"SELECT {column} FROM pg_class")


async def test_a_tenant_does_not_learn_which_databases_there_are(placement: Placement) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, "SELECT datname FROM pg_database")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
        "DO $$ BEGIN NULL; END $$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT s.pg_advisory_lock FROM generate_series(1::bigint, 9) AS s",
        "SELECT (4711).pg_cancel_backend",
        "SELECT * INTO mine FROM members",
    ],
)
async def test_a_tenant_cannot_reach_the_same_by_another_way(placement: Placement, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, statement)


async def test_no_function_that_acts_is_left_but_those_that_only_make_values(
    fleet: Fleet, placement: Placement
) -> None:
    role = "tiergate_app" if placement.tier is Tier.STANDARD else placement.place.login

    rows = await run_sql(
        fleet.admin(placement.place.database),
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
        " AND provolatile = 'v' AND 'internal'::regtype <> ALL (proargtypes::oid[])"
        " AND prorettype::regtype::text !~ 'trigger|handler|internal'"
        f" AND has_function_privilege('{role}', oid, 'EXECUTE')",
    )

    assert {name for (name,) in rows} <= HARMLESS


async def test_a_function_of_a_later_version_is_taken_away_when_the_plane_is_laid_anew(
    fleet: Fleet, placement: Placement
) -> None:
    """A superuser gives one back by mistake; the next change of the data plane takes it again."""
    place = placement.place
    admin = fleet.admin(place.database)
    await run_sql(
        admin, "GRANT EXECUTE ON FUNCTION pg_notify(text, text) TO PUBLIC", "COMMENT ON SCHEMA tiergate IS ''"
    )

    if placement.tier is Tier.GOVERNMENT:
        await fleet.provisioner.create(fleet.access, placement, soon())
    else:
        shared = fleet.shared if placement.tier is Tier.STANDARD else None
        await fleet.provisioner.prepare_cluster(fleet.access, placement.tier, soon(), shared=shared)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, "SELECT pg_notify('channel', 'text')")


@pytest.mark.parametrize(
    "found",
    [
        "FROM information_schema.tables WHERE table_name = 'members' AND table_schema = current_schema()",
        "FROM information_schema.columns WHERE table_name = 'members' AND column_name = 'email'",
        "FROM pg_class WHERE oid = 'members'::regclass",
        "FROM pg_attribute WHERE attrelid = 'members'::regclass AND attname = 'email'",
        "FROM pg_type WHERE oid = 'members'::regtype",
        "FROM pg_constraint WHERE conrelid = 'members'::regclass AND contype = 'p'",
        "FROM pg_index WHERE indrelid = 'members'::regclass AND indisprimary",
        "FROM pg_namespace WHERE nspname = current_schema()",
        "FROM pg_settings WHERE name = 'server_version'",
        "WHERE version() <> '' AND current_database() <> '' AND current_setting('server_version') <> ''",
        "WHERE format_type(25, NULL) = 'text' AND has_any_column_privilege('members', 'SELECT')",
        "WHERE pg_get_indexdef('members_pkey'::regclass) <> ''",
        "WHERE col_description('members'::regclass, 1) IS NULL",
        "FROM (SELECT gen_random_uuid(), random(), clock_timestamp(), now(), age(now())) AS made",
    ],
)
async def test_what_clients_ask_of_the_catalog_is_answered(placement: Placement, found: str) -> None:
    assert await ask(placement, f"SELECT 'members' {found}") == [("members",)]


async def test_every_view_of_the_information_schema_can_be_read(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.STANDARD)
    views = await run_sql(
        fleet.admin(),
        "SELECT relname FROM pg_class WHERE relkind = 'v'"
        " AND has_table_privilege('tiergate_app', oid, 'SELECT')"
        " AND relnamespace = 'information_schema'::regnamespace",
    )
    async with await psycopg.AsyncConnection.connect(
        login_of(placement.place), autocommit=True
    ) as connection:
        for (view,) in views:
            async with connection.transaction():
                await enter(connection, placement)
                await connection.execute(f"SELECT * FROM information_schema.{view}".encode())

    assert len(views) > 50
