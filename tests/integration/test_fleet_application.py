"""The application's files become tables, the same everywhere, or say what is wrong with them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from fleet.application import ApplicationSql, read_application
from fleet.errors import ApplicationChanged, ApplicationInvalid, PlaceTaken, ProvisioningTimeout
from fleet.provision import Provisioner
from tests.integration.test_fleet_door import EXAMPLES, Fleet, ask, open_fleet, soon
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

GOOD = """CREATE TABLE notes (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(), id int GENERATED ALWAYS AS IDENTITY, body text,
    PRIMARY KEY (tenant_id, id)
);
"""


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


def with_files(fleet: Fleet, *texts: str) -> Fleet:
    files = tuple((f"{number:02}.sql", text) for number, text in enumerate(texts, 1))
    return replace(fleet, provisioner=Provisioner(ApplicationSql(files)))


async def test_files_run_in_the_order_of_their_names(tmp_path: Path, fleet: Fleet) -> None:
    (tmp_path / "20_more.sql").write_text("ALTER TABLE notes ADD COLUMN more text; -- é\n", encoding="utf-8")
    (tmp_path / "10_notes.sql").write_text(GOOD)
    (tmp_path / "README.md").write_text("not SQL")

    own = replace(fleet, provisioner=Provisioner(read_application(tmp_path)))

    assert await ask(await own.create(Tier.PREMIUM), "SELECT more FROM notes") == []


async def test_several_statements_and_function_bodies_may_stand_in_a_file(fleet: Fleet) -> None:
    text = GOOD + (
        "CREATE FUNCTION shout(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN upper(t); END $$;\n"
        "CREATE VIEW loud WITH (security_invoker = true) AS\n"
        "    SELECT tenant_id, id, shout(body) AS body FROM notes;\n"
        "DO $$ BEGIN EXECUTE 'CREATE INDEX ON notes (tenant_id, body)'; END $$;"
    )

    placement = await with_files(fleet, text).create(Tier.PREMIUM)

    await ask(placement, "INSERT INTO notes (body) VALUES ('hear %s')")
    assert await ask(placement, "SELECT body FROM loud") == [("HEAR %S",)]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApplicationInvalid, match="No such file"):
        read_application(tmp_path / "nowhere")


def test_a_folder_without_sql_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApplicationInvalid, match=r"no file that ends in \.sql"):
        read_application(tmp_path)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder.sql").mkdir()

    with pytest.raises(ApplicationInvalid, match=r"folder\.sql"):
        read_application(tmp_path)


@pytest.mark.parametrize(("raw", "why"), [(b"-- caf\xe9", "UTF-8"), (b"SELECT 1\0", "NUL")])
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, raw: bytes, why: str) -> None:
    (tmp_path / "odd.sql").write_bytes(raw)

    with pytest.raises(ApplicationInvalid, match=f"odd.sql: .*{why}"):
        read_application(tmp_path)


def test_the_checksum_minds_texts_and_their_order_but_not_names() -> None:
    one = ApplicationSql((("1.sql", "a"), ("2.sql", "b")))

    assert one.checksum == ApplicationSql((("x.sql", "a"), ("y.sql", "b"))).checksum
    assert one.checksum != ApplicationSql((("1.sql", "b"), ("2.sql", "a"))).checksum
    assert one.checksum != ApplicationSql((("1.sql", "ab"),)).checksum


async def test_an_error_names_the_file_and_the_line(fleet: Fleet) -> None:
    own = with_files(fleet, GOOD, "-- é\n\nCREATE TABLE x (y nosuchtype);")

    with pytest.raises(ApplicationInvalid, match=r'02\.sql, line 3: type "nosuchtype" does not exist'):
        await own.create(Tier.PREMIUM)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "CREATE TABLE t (id int PRIMARY KEY)",
            'has no column "tenant_id text NOT NULL".*DEFAULT tiergate.tenant',
        ),
        (
            "CREATE TABLE t (tenant_id text NOT NULL, id int)",
            r"no primary key.*PRIMARY KEY \(tenant_id, id\)",
        ),
        (
            "CREATE TABLE t (tenant_id text, id int, PRIMARY KEY (id, tenant_id))",
            "does not begin with tenant_id",
        ),
        (
            "CREATE TABLE t (tenant_id text, id int UNIQUE, PRIMARY KEY (tenant_id, id))",
            "does not begin with",
        ),
        (
            """CREATE TABLE t (tenant_id text, a text, PRIMARY KEY (tenant_id, a),
                FOREIGN KEY (a, tenant_id) REFERENCES t)""",
            "leaves the tenant",
        ),
    ],
)
async def test_a_table_that_breaks_the_rule_is_named_with_what_to_write(
    fleet: Fleet, text: str, said: str
) -> None:
    with pytest.raises(ApplicationInvalid, match=f"(?s)table 't': .*{said}"):
        await with_files(fleet, text).create(Tier.PREMIUM)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "make no table"),
        (GOOD + "CREATE MATERIALIZED VIEW m AS SELECT 1", "materialized view m"),
        (GOOD + "CREATE VIEW v AS SELECT * FROM notes", "view v: .*security_invoker"),
        (GOOD + "CREATE SEQUENCE s", "sequence s: .*IDENTITY"),
        (GOOD + "ALTER TABLE notes ADD COLUMN n serial", "sequence notes_n_seq: .*IDENTITY"),
        (
            GOOD + "CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
            r"function .*f\(\): .*SECURITY DEFINER",
        ),
    ],
)
async def test_what_row_level_security_does_not_hold_is_refused(fleet: Fleet, text: str, said: str) -> None:
    with pytest.raises(ApplicationInvalid, match=said):
        await with_files(fleet, text).create(Tier.PREMIUM)


@pytest.mark.parametrize(
    "text",
    [
        "COMMIT",
        GOOD + "; COMMIT; BEGIN;",
        "ROLLBACK",
        "RESET ROLE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT set_config('role', 'none', false)",
        "CREATE ROLE mine",
        "CREATE TABLE public.t (x int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE tiergate.fence DISABLE ROW LEVEL SECURITY",
        "SELECT * FROM tiergate.context_key",
        "COPY members TO PROGRAM 'cat'",
        "\\i other.sql",
    ],
)
async def test_a_file_stays_in_its_transaction_its_role_and_its_schema(fleet: Fleet, text: str) -> None:
    placement = fleet.placement(Tier.PREMIUM)
    own = with_files(fleet, text, GOOD)

    with pytest.raises(ApplicationInvalid, match=r"01\.sql"):
        await own.provisioner.create(own.access, placement, soon())

    name = placement.place.schema
    rows = await run_sql(fleet.admin(), f"SELECT to_regnamespace('{name}'), to_regrole('{name}')")
    assert rows == [(None, None)]


async def test_a_search_path_set_in_one_file_ends_with_it(fleet: Fleet) -> None:
    own = with_files(fleet, "SET search_path = pg_catalog", GOOD)

    assert await ask(await own.create(Tier.PREMIUM), "SELECT * FROM notes") == []


async def test_tables_belong_to_the_owner_and_force_the_rule_on_it_too(fleet: Fleet) -> None:
    schema = (await fleet.create(Tier.PREMIUM)).place.schema

    rows = await run_sql(
        fleet.admin(),
        "SELECT relname, relowner::regrole::text, relrowsecurity, relforcerowsecurity FROM pg_class"
        f" WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r' ORDER BY relname",
    )

    assert rows == [(name, "tiergate_owner", True, True) for name in ("members", "projects", "tasks")]


async def test_nobody_is_granted_more_than_rows_by_column(fleet: Fleet) -> None:
    place = (await fleet.create(Tier.PREMIUM)).place

    whole = await run_sql(
        fleet.admin(),
        "SELECT DISTINCT grantee::regrole::text, privilege_type FROM pg_class, aclexplode(relacl)"
        f" WHERE relnamespace = '{place.schema}'::regnamespace AND relkind = 'r' AND grantee <> relowner",
    )
    by_column = await run_sql(
        fleet.admin(),
        "SELECT privilege_type, count(*) FROM pg_attribute, aclexplode(attacl)"
        f" WHERE attrelid = '{place.schema}.members'::regclass GROUP BY 1 ORDER BY 1",
    )

    assert whole == [(place.login, "DELETE")]
    assert by_column == [("INSERT", 9), ("SELECT", 9), ("UPDATE", 8)]


async def test_the_same_files_again_change_nothing_and_others_are_refused(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.PREMIUM)
    await ask(placement, "INSERT INTO members (email, name) VALUES ('a@b.example', 'A')")

    await fleet.provisioner.create(fleet.access, placement, soon())

    with pytest.raises(ApplicationChanged, match=placement.place.schema):
        await with_files(fleet, GOOD).provisioner.create(fleet.access, placement, soon())
    assert await ask(placement, "SELECT count(*) FROM members") == [(1,)]


async def test_a_schema_that_belongs_to_somebody_else_is_left_alone(fleet: Fleet) -> None:
    taken = replace(fleet.shared, schema="taken")
    await run_sql(fleet.admin(), "CREATE SCHEMA taken")

    with pytest.raises(PlaceTaken, match="postgres"):
        await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=taken)


async def test_a_name_that_needs_quoting_serves_as_a_schema(postgres: Cluster) -> None:
    odd = 'O\'Brien "x" %s; --'
    async with open_fleet(postgres) as fleet:
        own = replace(fleet, shared=replace(fleet.shared, schema=odd))
        await run_sql(fleet.admin(), "DROP SCHEMA app CASCADE")
        await asyncio.gather(
            *(
                own.provisioner.prepare_cluster(own.access, Tier.STANDARD, soon(), shared=own.shared)
                for _ in "ab"
            )
        )

        placement = await own.create(Tier.STANDARD)

        assert await ask(placement, "SELECT current_schema(), count(*) FROM members") == [(odd, 0)]


async def test_a_wait_for_a_lock_is_no_fault_of_the_files(fleet: Fleet) -> None:
    own = with_files(fleet, GOOD + "LOCK TABLE app.members")
    placement = fleet.placement(Tier.PREMIUM)
    async with await psycopg.AsyncConnection.connect(fleet.admin()) as other:
        await other.execute("LOCK TABLE app.members")

        with pytest.raises(ProvisioningTimeout):
            await own.provisioner.create(own.access, placement, Deadline.after(0.5))


def test_the_example_application_reads_as_three_files() -> None:
    files = read_application(EXAMPLES / "application").files

    assert [name for name, _text in files] == ["01_members.sql", "02_projects.sql", "03_tasks.sql"]
