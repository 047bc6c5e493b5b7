"""The door across tenants: who may, what a statement may, and what is told of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from admin.across_door import PATH
from admin.app import build_admin
from registry.records import Asked, AuditEntry
from tests.support.operators import ADMIN_KEY, Side, World, add_clusters, create, error, open_client
from tests.support.postgres import run_sql
from tests.support.verifying import open_verification
from tests.support.waiting import wait_until
from tiergate.tenant import TenantId, Tier
from verify.finding import Checked
from verify.site import Asked as Site

ACROSS_KEY = "the-key-across-tenants-of-the-tests-0123"
TENANTS = {
    "acme": Tier.STANDARD,
    "umbrella": Tier.STANDARD,
    "globex": Tier.PREMIUM,
    "treasury": Tier.GOVERNMENT,
}
ROLES = ("tiergate_across", "tiergate_across_write")

Line = dict[str, Any]  # Any: JSON


def body(query: str, **more: object) -> Line:
    said = {"query": query, "reason": "a test of the door", "i_know_this_reads_every_tenant": True}
    return {**said, **more}


async def ask(door: httpx.AsyncClient, query: str, **more: object) -> list[Line]:
    response = await door.post(PATH, json=body(query, **more))
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def kinds(lines: list[Line], kind: str) -> list[Line]:
    return [line for line in lines if line["kind"] == kind]


def outcomes(lines: list[Line]) -> dict[str, str]:
    return {line["cluster"]: line["outcome"] for line in kinds(lines, "place")}


async def audited(world: World, act: str) -> list[AuditEntry]:
    return await world.store.audit_entries(20, Asked(act=act))


@pytest.fixture(scope="module")
async def furnished(world: World) -> World:
    """A cluster for each tier, and a member in each of four tenants."""
    async with open_client(build_admin(world.operations, Side().seam(), key=ADMIN_KEY)) as api:
        await add_clusters(api, world)
        for name, tier in TENANTS.items():
            (await create(api, name, tier)).raise_for_status()
    for name, tier in TENANTS.items():
        placement = await world.store.route(TenantId(name))
        assert placement is not None
        where = world.clusters.of(tier).conninfo(placement.place.database)
        table = f'"{placement.place.schema}".members'
        row = f"INSERT INTO {table} (tenant_id, email, name) VALUES ('{name}', 'a@{name}', 'Ann')"
        await run_sql(where, row)
    return world


@pytest.fixture
async def door(furnished: World) -> AsyncIterator[httpx.AsyncClient]:
    app = build_admin(furnished.operations, Side().seam(), key=ADMIN_KEY, cross_tenant_key=ACROSS_KEY)
    async with open_client(app, key=ACROSS_KEY) as client:
        yield client


async def test_every_tenants_rows_come_with_the_place_that_they_are_from(door: httpx.AsyncClient) -> None:
    lines = await ask(door, "SELECT tenant_id, name FROM app.members")

    rows = kinds(lines, "row")
    assert {(line["row"]["tenant_id"], line["tier"], line["cluster"]) for line in rows} == {
        (name, tier, f"{tier}-1") for name, tier in TENANTS.items()
    }
    assert {line["row"]["name"] for line in rows} == {"Ann"}
    assert outcomes(lines) == {"standard-1": "ok", "premium-1": "ok", "government-1": "ok"}
    (end,) = kinds(lines, "end")
    assert (end["outcome"], end["rows"], end["answered"], end["failed"], end["audited"]) == (
        "ok",
        4,
        3,
        0,
        True,
    )
    assert lines[-1] == end


async def test_places_are_chosen_by_tier_cluster_and_tenant(door: httpx.AsyncClient) -> None:
    query = "SELECT tenant_id FROM members"

    assert outcomes(await ask(door, query, tier="premium")) == {"premium-1": "ok"}
    assert outcomes(await ask(door, query, cluster="government-1")) == {"government-1": "ok"}
    assert outcomes(await ask(door, query, tenants=["globex", "acme"])) == {
        "premium-1": "ok",
        "standard-1": "ok",
    }
    nobody = await door.post(PATH, json=body(query, tenants=["nobody"]))
    nowhere = await door.post(PATH, json=body(query, cluster="nowhere"))
    assert (error(nobody)["code"], error(nowhere)["code"]) == ("unknown-tenant", "unknown-cluster")


async def test_the_door_opens_to_its_own_key_alone(furnished: World) -> None:
    closed = build_admin(furnished.operations, Side().seam(), key=ADMIN_KEY)
    opened = build_admin(furnished.operations, Side().seam(), key=ADMIN_KEY, cross_tenant_key=ACROSS_KEY)
    tenants_key = (await furnished.operations.create_key(
        TenantId("acme"), ["read", "write"], note="", expires_at=None, actor="test"  # type: ignore[list-item]
    )).text  # fmt: skip
    found = []
    for app in (closed, opened):
        for key in (None, "", tenants_key, ADMIN_KEY, ACROSS_KEY[:-1], ACROSS_KEY):
            async with open_client(app, key=key) as client:
                response = await client.post(PATH, json=body("SELECT 1"))
            found.append((response.status_code, "" if response.is_success else error(response)["code"]))
    async with open_client(opened, key=ACROSS_KEY) as client:
        elsewhere = await client.get("/tenants")

    no, closed_to_admin = (401, "not-admitted"), (404, "across-closed")
    assert found == [
        no,
        no,
        no,
        closed_to_admin,
        no,
        no,
        no,
        no,
        no,
        (403, "across-key-needed"),
        no,
        (200, ""),
    ]
    assert elsewhere.status_code == 401
    refused = [(entry.entry.act, entry.entry.outcome) for entry in await audited(furnished, "across.read")]
    assert ("across.read", "across-key-needed") in refused
    assert ("across.read", "across-closed") in refused


@pytest.mark.parametrize(
    "change",
    [
        {"i_know_this_reads_every_tenant": False},
        {"reason": "why not"},
        {"reason": "two\nlines of it"},
        {"query": "SELECT 'a\0b'"},
        {"max_rows": 0},
        {"tenants": ["No Body"]},
    ],
)
async def test_what_is_said_halfway_is_refused(door: httpx.AsyncClient, change: Line) -> None:
    response = await door.post(PATH, json={**body("SELECT 1"), **change})

    assert (response.status_code, error(response)["code"]) == (422, "body-invalid")


WRITES = (
    "INSERT INTO members (tenant_id, email, name) VALUES ('acme', 'x@acme', 'X')",
    "UPDATE members SET name = 'X'",
    "DELETE FROM members",
    "WITH gone AS (DELETE FROM members RETURNING *) SELECT * FROM gone",
    "MERGE INTO members USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE",
)


@pytest.mark.parametrize("query", WRITES)
async def test_nothing_is_written_unless_writing_is_asked_for(door: httpx.AsyncClient, query: str) -> None:
    lines = await ask(door, query)

    assert set(outcomes(lines).values()) == {"across-failed"}
    assert kinds(lines, "end")[0]["outcome"] == "places-failed"
    left = await ask(door, "SELECT name FROM members")
    assert [line["row"]["name"] for line in kinds(left, "row")] == ["Ann"] * 4


async def test_a_function_that_writes_is_refused_by_the_read_only_transaction_and_by_grants(
    door: httpx.AsyncClient, furnished: World
) -> None:
    where = furnished.clusters.standard.conninfo()
    await run_sql(
        where,
        "CREATE FUNCTION app.wipe() RETURNS bigint LANGUAGE sql AS"
        " 'WITH gone AS (DELETE FROM app.members RETURNING 1) SELECT count(*) FROM gone'",
        "GRANT EXECUTE ON FUNCTION app.wipe() TO PUBLIC",
    )
    try:
        lines = await ask(door, "SELECT app.wipe()", tier="standard")
    finally:
        await run_sql(where, "DROP FUNCTION app.wipe()")

    assert (
        "(25006)" in kinds(lines, "place")[0]["message"] or "(42501)" in kinds(lines, "place")[0]["message"]
    )
    rights = await run_sql(
        where,
        "SELECT privilege_type FROM information_schema.table_privileges WHERE grantee = 'tiergate_across'",
    )
    assert set(rights) == {("SELECT",)}


@pytest.mark.parametrize(
    "query",
    [
        "COMMIT", "ROLLBACK; SELECT 1", "RESET ROLE", "SET ROLE postgres", "RESET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION DEFAULT", "COPY members TO PROGRAM 'id'", "DO $$ BEGIN END $$",
        "TRUNCATE members",
        "/* x */ BEGIN", "EXPLAIN SELECT 1", "CREATE TABLE x (y int)", "", "GRANT tiergate_across TO PUBLIC",
    ],
)  # fmt: skip
async def test_what_is_no_query_is_refused_before_anything_is_written_down_as_begun(
    door: httpx.AsyncClient, furnished: World, query: str
) -> None:
    response = await door.post(PATH, json=body(query or " ", write=True))

    assert (response.status_code, error(response)["code"]) == (422, "statement-refused")
    (newest,) = await furnished.store.audit_entries(1)
    assert (newest.entry.act, newest.entry.outcome) == ("across.write", "statement-refused")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; COMMIT",
        "SELECT 1; RESET SESSION AUTHORIZATION",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT set_config('session_authorization', 'postgres', false)",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'transaction_read_only'",
        "SELECT * FROM tiergate.context_key",
        "SELECT * FROM tiergate.fence",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_sleep(1)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT * FROM dblink('', '')",
        "SELECT nextval('x')",
    ],
)
@pytest.mark.parametrize("writes", [False, True])
async def test_a_statement_reaches_rows_of_the_application_and_nothing_else(
    door: httpx.AsyncClient,
    query: str,
    writes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    lines = await ask(door, query, write=writes)

    assert set(outcomes(lines).values()) == {"across-failed"}
    assert kinds(lines, "row") == []


async def test_who_runs_there_is_no_superuser_in_any_sense(door: httpx.AsyncClient) -> None:
    query = "SELECT current_user AS c, session_user AS s, current_setting('is_superuser') AS su"
    (reader,) = kinds(await ask(door, query, tier="premium"), "row")
    (writer,) = kinds(await ask(door, query, tier="premium", write=True), "row")

    assert reader["row"] == {"c": ROLES[0], "s": ROLES[0], "su": "off"}
    assert writer["row"] == {"c": ROLES[1], "s": ROLES[1], "su": "off"}


async def test_a_write_that_is_asked_for_changes_every_place_but_no_rows_tenant(
    door: httpx.AsyncClient,
) -> None:
    query = "UPDATE members SET name = 'Anna' WHERE name = 'Ann'"
    changed = await ask(door, query, write=True)
    moved = await ask(door, "UPDATE members SET tenant_id = 'acme'", write=True)
    await ask(door, "UPDATE members SET name = 'Ann' WHERE name = 'Anna'", write=True)

    assert {line["cluster"]: line["rows"] for line in kinds(changed, "place")} == {
        "standard-1": 2, "premium-1": 1, "government-1": 1,
    }  # fmt: skip
    assert kinds(changed, "end")[0]["rows"] == 4
    assert set(outcomes(moved).values()) == {"across-failed"}


async def test_each_use_is_in_the_audit_before_and_after_with_its_text_and_reason(
    door: httpx.AsyncClient, furnished: World
) -> None:
    query = "SELECT count(*) FROM members"
    await door.post(PATH, json=body(query, tier="standard"), headers={"tiergate-actor": "cli:ann"})

    end, begun = (await audited(furnished, "across"))[:2]
    assert (begun.entry.actor, begun.entry.act, begun.entry.outcome) == ("cli:ann", "across.read", "begun")
    assert begun.entry.detail == {
        "reason": "a test of the door", "sql": query, "places": 1,
        "tier": "standard", "cluster": None, "tenants": None,
    }  # fmt: skip
    assert (end.entry.act, end.entry.outcome, end.entry.detail["begun"]) == ("across.end", "ok", begun.id)
    assert (end.entry.detail["rows"], end.entry.detail["answered"], end.entry.detail["failed"]) == (1, 1, 0)
    assert (await furnished.store.verify_audit()).broken is None


async def test_nothing_runs_when_it_cannot_be_written_down(door: httpx.AsyncClient, furnished: World) -> None:
    audit = "ALTER TABLE tiergate_registry.audit"
    await run_sql(
        furnished.registry_url, f"{audit} ADD CONSTRAINT full_up CHECK (outcome <> 'begun') NOT VALID"
    )
    try:
        response = await door.post(PATH, json=body("DELETE FROM members", write=True))
    finally:
        await run_sql(furnished.registry_url, f"{audit} DROP CONSTRAINT full_up")

    assert (response.status_code, error(response)["code"]) == (500, "registry-failed")
    assert len(kinds(await ask(door, "SELECT 1 FROM members"), "row")) == 4


async def test_a_cluster_that_is_gone_is_told_while_the_others_answer(
    door: httpx.AsyncClient, furnished: World
) -> None:
    home = await furnished.store.cluster("premium-1")
    login = {"admin_user": home.admin_user, "admin_password": home.admin_password, "actor": "test"}
    await furnished.store.set_cluster_address("premium-1", conninfo="host=127.0.0.1 port=1", **login)
    try:
        lines = await ask(door, "SELECT tenant_id FROM members")
    finally:
        await furnished.store.set_cluster_address("premium-1", conninfo=home.conninfo, **login)

    assert outcomes(lines) == {"standard-1": "ok", "premium-1": "cluster-unreachable", "government-1": "ok"}
    assert (kinds(lines, "end")[0]["outcome"], kinds(lines, "end")[0]["failed"]) == ("places-failed", 1)
    assert len(kinds(lines, "row")) == 3


ENDLESS = "SELECT count(*) FROM generate_series(1, 10000000000)"


async def test_a_statement_that_takes_too_long_is_ended_in_its_place(door: httpx.AsyncClient) -> None:
    lines = await ask(door, ENDLESS, tier="standard", timeout_s=0.1)

    (place,) = kinds(lines, "place")
    assert (place["outcome"], "(57014)" in place["message"]) == ("across-failed", True)


async def test_the_result_is_cut_at_its_limit_and_a_write_with_it_undone(door: httpx.AsyncClient) -> None:
    lines = await ask(door, "SELECT n FROM generate_series(1, 1000000) AS n", max_rows=10)
    written = await ask(
        door, "UPDATE members SET name = 'X' RETURNING name", tier="standard", write=True, max_rows=1
    )

    assert len(kinds(lines, "row")) == 10
    assert kinds(lines, "end")[0]["outcome"] == "cut"
    assert outcomes(written) == {"standard-1": "cut"}
    names = kinds(await ask(door, "SELECT DISTINCT name FROM members"), "row")
    assert {line["row"]["name"] for line in names} == {"Ann"}


async def is_running(world: World, query: str = ENDLESS) -> bool:
    """Whether *query* runs on the standard cluster."""
    found = await run_sql(
        world.clusters.standard.conninfo(), "SELECT query FROM pg_stat_activity WHERE state = 'active'"
    )
    return any(str(text).endswith(query[7:]) for (text,) in found)


async def test_a_caller_who_goes_away_ends_the_statement_and_that_is_written_down(
    door: httpx.AsyncClient, furnished: World
) -> None:
    asking = asyncio.create_task(door.post(PATH, json=body(ENDLESS, tier="standard", timeout_s=60)))
    await wait_until(lambda: is_running(furnished))
    (begun,) = await furnished.store.audit_entries(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    async def has_ended() -> bool:
        return not await is_running(furnished)

    await wait_until(has_ended)
    (end,) = await furnished.store.audit_entries(1)
    assert (begun.entry.act, begun.entry.outcome) == ("across.read", "begun")
    assert (end.entry.act, end.entry.outcome, end.entry.detail["begun"]) == (
        "across.end",
        "cancelled",
        begun.id,
    )


async def test_a_role_that_somebody_could_become_is_refused(
    door: httpx.AsyncClient, furnished: World
) -> None:
    await ask(door, "SELECT 1", tier="premium")
    where = furnished.clusters.premium.conninfo()
    await run_sql(where, "CREATE ROLE strange", "GRANT tiergate_across TO strange")
    try:
        lines = await ask(door, "SELECT 1", tier="premium")
    finally:
        await run_sql(where, "REVOKE tiergate_across FROM strange", "DROP ROLE strange")

    assert outcomes(lines) == {"premium-1": "cluster-unfit"}


async def test_nobody_can_become_who_reads_across_and_verify_knows_the_roles(
    door: httpx.AsyncClient, furnished: World
) -> None:
    await ask(door, "SELECT 1", write=True)
    await ask(door, "SELECT 1")

    told: list[Checked] = []
    async with open_verification(furnished) as verification:
        await verification.run(Site(tries=False), actor="test", tell=told.append)
    assert [checked.code for checked in told if checked.is_failed] == []
    for tier in Tier:
        members = await run_sql(
            furnished.clusters.of(tier).conninfo(),
            "SELECT rolcanlogin, rolsuper, rolbypassrls, (SELECT count(*) FROM pg_auth_members"
            " WHERE r.oid IN (roleid, member)) FROM pg_roles AS r WHERE rolname LIKE 'tiergate_across%'",
        )
        assert members == [(False, False, True, 0)] * 2
