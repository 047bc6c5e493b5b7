"""`tiergate verify` tries the known escapes, finds those that succeed, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from guard.verdict import Guard
from pools.protection import Protection
from pools.wire import Wire
from registry.placement import Place
from tests.support.operators import World, create
from tests.support.places import open_pools
from tests.support.postgres import run_sql
from tests.support.verifying import CATALOGS, GUARD, look, open_verification
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier
from verify.escapes import escapes
from verify.finding import Checked
from verify.run import Verification
from verify.site import Asked
from verify.throwaway import Throwaways, is_ours

STATE = """
SELECT md5(string_agg(said, chr(10) ORDER BY said)) FROM (
    SELECT format('role %s %s', rolname, rolpassword) FROM pg_authid
    UNION ALL SELECT format('member %s %s', roleid::regrole, member::regrole) FROM pg_auth_members
    UNION ALL SELECT format('setting %s %s %s', setdatabase, setrole, setconfig) FROM pg_db_role_setting
    UNION ALL SELECT format('database %s %s', datname, datacl) FROM pg_database
    UNION ALL SELECT format('schema %s %s', nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg_t%'
    UNION ALL SELECT format('relation %s %s %s', oid, relname, relacl) FROM pg_class WHERE oid > 16383
    UNION ALL SELECT format('column %s %s %s', attrelid, attname, attacl)
        FROM pg_attribute WHERE attrelid > 16383
    UNION ALL SELECT format('function %s %s %s', oid, proacl, md5(prosrc)) FROM pg_proc
    UNION ALL SELECT format('policy %s %s', polrelid, polname) FROM pg_policy
    UNION ALL SELECT format('fence %s', f) FROM tiergate.fence AS f
    UNION ALL SELECT format('application %s', a) FROM tiergate.application AS a
    UNION ALL SELECT format('row %s', t) FROM SCHEMA.members AS t) AS line (said)
"""
REGISTRY = """
SELECT (SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM tiergate_registry.tenant AS t),
    (SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM tiergate_registry.placement AS t),
    (SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM tiergate_registry.place AS t),
    (SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM tiergate_registry.data_database AS t)
"""


@pytest.fixture(scope="module")
async def verification(world: World) -> AsyncIterator[Verification]:
    async with open_verification(world) as opened:
        yield opened


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools take a place for protected unseen; what keeps a try from its aim is the database alone."""

    async def check(protection: Protection, wire: Wire) -> None:
        protection._asked_at = asyncio.get_running_loop().time()

    monkeypatch.setattr(Protection, "check", check)


@pytest.fixture
async def installed(ready: httpx.AsyncClient, world: World) -> dict[Tier, Place]:
    """A tenant on each tier, with a row, and where it lives."""
    places = {}
    for tier in Tier:
        (await create(ready, f"try-{tier}", tier)).raise_for_status()
        placement = await world.store.route(TenantId(f"try-{tier}"))
        assert placement is not None
        places[tier] = placement.place
        await run_sql(
            admin(world, placement.place),
            f"INSERT INTO {placement.place.schema}.members (tenant_id, id, email, name)"
            f" VALUES ('try-{tier}', md5('{tier}')::uuid, 'a@b.example', 'Ann') ON CONFLICT DO NOTHING",
        )
    return places


def admin(world: World, place: Place) -> str:
    return world.clusters.of(place.tier).conninfo(place.database)


async def states(world: World, installed: dict[Tier, Place]) -> list[object]:
    found: list[object] = [
        await run_sql(admin(world, place), STATE.replace("SCHEMA", place.schema))
        for place in installed.values()
    ]
    part = world.clusters.standard.conninfo(world.registry_url.rpartition("/")[2])
    return [*found, await run_sql(part, REGISTRY)]


async def ours(world: World) -> list[str]:
    fingerprint = await world.store.fingerprint()
    return [tenant.name for tenant in await world.store.tenants() if is_ours(tenant.name, fingerprint)]


def names(told: list[Checked]) -> dict[str, str]:
    """The escapes that succeeded, and how."""
    return {
        checked.name: "; ".join(finding.detail for finding in checked.findings)
        for checked in told
        if checked.name is not None and checked.findings
    }


async def test_every_escape_is_tried_on_its_tiers_and_none_succeeds(
    installed: dict[Tier, Place], verification: Verification
) -> None:
    told = await look(verification, Asked())

    assert [checked for checked in told if checked.is_failed] == []
    for tier in Tier:
        tried = [checked.name for checked in told if checked.name and checked.where.tier is tier]
        assert tried == [escape.name for escape in escapes() if tier in escape.tiers]
        assert len(tried) > 70


async def test_a_run_changes_nothing(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    before = await states(world, installed)

    await look(verification, Asked())

    assert await states(world, installed) == before


async def test_where_the_tier_may_run_all_of_sql_it_still_holds(
    installed: dict[Tier, Place], world: World
) -> None:
    async with open_pools() as pools:
        verification = Verification(
            world.store, world.operations, pools,
            schema="app", full_sql=lambda: frozenset({Tier.PREMIUM}), guard=lambda: GUARD,
        )  # fmt: skip
        told = await look(verification, Asked(cluster="premium-1"))

    assert [checked for checked in told if checked.is_failed] == []


@pytest.mark.parametrize(
    ("mistake", "undone", "caught"),
    [
        (
            "ALTER TABLE app.members DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE app.members ENABLE ROW LEVEL SECURITY",
            {"read-all", "count", "update-others", "delete-both", "insert-for-another", "error-shows-value"},
        ),
        (
            "GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint), pg_sleep(float8) TO PUBLIC",
            "REVOKE EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint), pg_sleep(float8) FROM PUBLIC",
            {"advisory-lock", "sleep"},
        ),
        (
            "GRANT SELECT ON tiergate.context_key TO tiergate_gate, tiergate_app",
            "REVOKE SELECT ON tiergate.context_key FROM tiergate_gate, tiergate_app",
            {"read-keys", "login-reads-keys"},
        ),
        (
            "GRANT tiergate_owner TO tiergate_gate",
            "REVOKE tiergate_owner FROM tiergate_gate",
            {"login-becomes-owner"},
        ),
        (
            "CREATE UNIQUE INDEX by_id ON app.members (id)",
            "DROP INDEX app.by_id",
            {"unique-key-tells"},
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
async def test_an_escape_that_is_open_succeeds_and_is_named(
    installed: dict[Tier, Place], world: World, verification: Verification,
    mistake: str, undone: str, caught: set[str],
) -> None:  # fmt: skip
    conninfo = admin(world, installed[Tier.STANDARD])
    await run_sql(conninfo, mistake)

    told = await look(verification, Asked(cluster="standard-1"))
    await run_sql(conninfo, undone)

    assert caught <= set(names(told))
    assert await ours(world) == []


async def test_where_the_rule_is_off_the_gateway_says_that_it_serves_nobody(
    installed: dict[Tier, Place], world: World
) -> None:
    conninfo = admin(world, installed[Tier.STANDARD])
    await run_sql(conninfo, "ALTER TABLE app.members DISABLE ROW LEVEL SECURITY")

    async with open_verification(world) as verification:
        told = await look(verification, Asked(cluster="standard-1"))
    await run_sql(conninfo, "ALTER TABLE app.members ENABLE ROW LEVEL SECURITY")

    failed = {checked.code: checked.findings[0].detail for checked in told if checked.is_failed}
    assert failed.keys() == {"rls-disabled", "try-failed"}
    assert failed["try-failed"].startswith("place-unprotected: ")
    assert await ours(world) == []


@pytest.mark.usefixtures("unchecked")
async def test_where_escapes_succeed_no_other_tenant_loses_a_row_and_none_is_shown(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    """Where policies were gone, verifying deleted every tenant's rows, and a message quoted one of them."""
    place = installed[Tier.STANDARD]
    conninfo = admin(world, place)
    await run_sql(
        conninfo,
        "ALTER TABLE app.members DISABLE ROW LEVEL SECURITY;"
        "GRANT UPDATE (tenant_id) ON app.members TO tiergate_app;"
        "GRANT TRUNCATE ON app.members TO tiergate_gate; GRANT USAGE ON SCHEMA app TO tiergate_gate",
    )
    rows = "SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM app.members AS t"
    before = await run_sql(conninfo, rows)

    told = await look(verification, Asked(cluster="standard-1"))
    after = await run_sql(conninfo, rows)
    await run_sql(
        conninfo,
        "ALTER TABLE app.members ENABLE ROW LEVEL SECURITY;"
        "REVOKE UPDATE (tenant_id) ON app.members FROM tiergate_app;"
        "REVOKE TRUNCATE ON app.members FROM tiergate_gate; REVOKE USAGE ON SCHEMA app FROM tiergate_gate",
    )

    assert {"delete-both", "give-row-away", "login-truncates"} <= names(told).keys()
    assert after == before
    assert "a@b.example" not in str(names(told))


async def test_a_guard_that_lets_an_escape_pass_is_named(installed: dict[Tier, Place], world: World) -> None:
    lax = {tier: replace(each, functions=each.functions | {"pg_sleep"}) for tier, each in CATALOGS.items()}
    async with open_verification(world, Guard(lax)) as verification:
        told = await look(verification, Asked(cluster="standard-1"))

    assert names(told) == {"sleep": "the guard lets it pass"}


async def test_what_a_killed_run_left_is_removed_by_the_next_and_nobody_elses(
    installed: dict[Tier, Place], ready: httpx.AsyncClient, world: World, verification: Verification
) -> None:
    async with open_pools() as pools:
        killed = Throwaways(world.store, world.operations, pools, actor="killed")
        for tier in Tier:
            for name in await killed.new_names():
                (await create(ready, name, tier)).raise_for_status()
    (await create(ready, "verify-0123456789abcdef-a")).raise_for_status()
    assert len(await ours(world)) == 6

    await look(verification, Asked(cluster="standard-1"))

    assert await ours(world) == []
    assert (await ready.get("/tenants/verify-0123456789abcdef-a")).status_code == 200
    await world.operations.delete_tenant(
        TenantId("verify-0123456789abcdef-a"), actor="test", deadline=Deadline.after(30), forgets=True
    )


async def test_a_run_that_is_interrupted_removes_its_tenants(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    begun = asyncio.Event()

    def tell(checked: Checked) -> None:
        if checked.name is not None:
            begun.set()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(verification.run(Asked(), actor="test", tell=tell))
        await begun.wait()
        assert await ours(world)
        running.cancel()

    assert await ours(world) == []
