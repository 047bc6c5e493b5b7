"""`tiergate verify` names what is wrong with a live installation, and says nothing of one that is sound."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from fleet.contexts import put_key
from registry.errors import UnknownCluster, UnknownPlace, UnknownTenant
from registry.placement import Place, PlaceId
from tests.support.operators import World, create
from tests.support.postgres import run_sql
from tests.support.verifying import look, open_verification
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier
from verify.errors import VerifyRunning
from verify.run import Verification
from verify.site import Asked, survey


@dataclass(frozen=True, slots=True)
class Planted:
    """A mistake, as planted.yaml tells of it."""

    code: str
    mistake: str
    undone: str
    what: str
    detail: str = ""
    tier: Tier = Tier.STANDARD


MISTAKES = Path(__file__).parents[1] / "support" / "planted.yaml"
PLANTED = [
    Planted(**{**said, "tier": Tier(said.get("tier", "standard"))})
    for said in yaml.safe_load(MISTAKES.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
async def verification(world: World) -> AsyncIterator[Verification]:
    async with open_verification(world) as opened:
        yield opened


@pytest.fixture
async def installed(ready: httpx.AsyncClient, world: World) -> dict[Tier, Place]:
    """A tenant on each tier, and where it lives."""
    places = {}
    for tier in Tier:
        (await create(ready, f"look-{tier}", tier)).raise_for_status()
        await run_sql(world.clusters.of(tier).conninfo(), MAKE_REPORTER)
        placement = await world.store.route(TenantId(f"look-{tier}"))
        assert placement is not None
        places[tier] = placement.place
    return places


MAKE_REPORTER = "DO $$BEGIN IF to_regrole('reporter') IS NULL THEN CREATE ROLE reporter; END IF; END$$"


@pytest.fixture
async def planted(
    request: pytest.FixtureRequest, world: World, installed: dict[Tier, Place]
) -> AsyncIterator[Planted]:
    mistake: Planted = request.param
    place = installed[mistake.tier]
    conninfo = world.clusters.of(mistake.tier).conninfo(place.database)

    def here(text: str) -> list[str]:
        for letter, name in (("S", place.schema), ("L", place.login), ("D", place.database)):
            text = re.sub(rf"\b{letter}\b", name, text)
        return text.split("; ")

    await run_sql(conninfo, *here(mistake.mistake))
    yield mistake
    await run_sql(conninfo, *here(mistake.undone))


async def test_a_sound_installation_has_no_findings(
    installed: dict[Tier, Place], verification: Verification
) -> None:
    told = await look(verification, Asked(tries=False))

    assert [checked for checked in told if checked.is_failed] == []
    assert {checked.where.place for checked in told} >= {place.id for place in installed.values()}
    assert len(told) > 150


@pytest.mark.parametrize(
    "planted", PLANTED, indirect=True, ids=lambda planted: f"{planted.code}-{planted.what}"
)
async def test_a_planted_mistake_is_named(
    planted: Planted, installed: dict[Tier, Place], verification: Verification
) -> None:
    told = await look(verification, Asked(cluster=f"{planted.tier}-1", tries=False))

    named = [
        (checked, finding)
        for checked in told
        for finding in checked.findings
        if checked.code == planted.code and planted.what in finding.what and planted.detail in finding.detail
    ]
    assert len(named) == 1, [checked for checked in told if checked.findings]
    [(checked, _)] = named
    assert checked.advice
    assert checked.where.cluster == f"{planted.tier}-1"
    if checked.where.place is not None:
        assert checked.where.place == installed[planted.tier].id


async def test_a_changed_function_of_ours_is_named(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    conninfo = world.clusters.standard.conninfo(installed[Tier.STANDARD].database)
    [[defined]] = await run_sql(conninfo, "SELECT pg_get_functiondef('tiergate.tenant()'::regprocedure)")
    await run_sql(conninfo, str(defined).replace("RETURN tenant;", "RETURN substr(context, 75);"))

    told = await look(verification, Asked(cluster="standard-1", tries=False))
    await run_sql(conninfo, str(defined))

    [named] = [checked for checked in told if checked.code == "function-differs"]
    assert [(each.what, each.detail) for each in named.findings] == [
        ("tiergate.tenant", "its body is another")
    ]
    assert {"data-plane-changed"} <= {checked.code for checked in told if checked.findings}


async def test_a_password_that_somebody_has_set_is_named(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    login, conninfo = installed[Tier.PREMIUM].login, world.clusters.premium.conninfo()
    [[stored]] = await run_sql(conninfo, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{login}'")
    await run_sql(conninfo, f"ALTER ROLE {login} PASSWORD 'guessed'")

    told = await look(verification, Asked(cluster="premium-1", tries=False))
    await run_sql(conninfo, f"ALTER ROLE {login} PASSWORD '{stored}'")

    [named] = [checked for checked in told if checked.code == "login-password" and checked.findings]
    assert named.findings[0].what == login
    assert named.where.place == installed[Tier.PREMIUM].id


async def test_only_what_is_asked_for_is_looked_at(
    installed: dict[Tier, Place], verification: Verification
) -> None:
    place = installed[Tier.PREMIUM]

    by_tenant = await look(verification, Asked(tenant=TenantId("look-premium"), tries=False))
    by_place = await look(verification, Asked(place=place.id, tries=False))

    for told in (by_tenant, by_place):
        assert {checked.where.cluster for checked in told} == {"premium-1"}
        assert {checked.where.place for checked in told} == {None, place.id}
    with pytest.raises(UnknownTenant):
        await look(verification, Asked(tenant=TenantId("nobody")))
    with pytest.raises(UnknownPlace):
        await look(verification, Asked(place=PlaceId("pl_nowhere")))
    with pytest.raises(UnknownCluster):
        await look(verification, Asked(cluster="nowhere"))


async def test_one_verification_runs_at_a_time(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    async with world.store.alone("verify") as is_alone:
        assert is_alone
        with pytest.raises(VerifyRunning):
            await look(verification, Asked(tries=False))

    assert await look(verification, Asked(cluster="premium-1", tries=False))


async def test_a_run_is_written_into_the_audit(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    await look(verification, Asked(cluster="premium-1", tries=False))

    [latest] = await world.store.audit_entries(limit=1)
    assert (latest.entry.act, latest.entry.subject, latest.entry.outcome) == ("verify.run", "premium-1", "ok")


async def test_keys_that_are_being_replaced_are_no_mistake(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    place = installed[Tier.PREMIUM]
    key = await world.store.context_key(place.cluster, place.database)
    conninfo = world.clusters.premium.conninfo(place.database)
    for when in ("interrupted", "rotated", "retired"):
        if when == "interrupted":
            access = next(site.access for site in await survey(world.store, Asked(cluster=place.cluster)))
            await put_key(access, world.store.context_place(key, key.kid + 1), Deadline.after(60))
        elif when == "rotated":
            await world.operations.rotate_context_key(
                place.cluster, place.database, actor="test", deadline=Deadline.after(60)
            )
        else:
            await world.operations.retire_context_key(
                place.cluster, place.database, at_once=True, actor="test", deadline=Deadline.after(60)
            )
        told = await look(verification, Asked(cluster=place.cluster))

        assert [checked for checked in told if checked.findings] == [], when
    assert await run_sql(conninfo, "SELECT kid FROM tiergate.context_key") == [(key.kid + 1,)]


async def test_a_move_that_goes_on_is_no_mistake(
    installed: dict[Tier, Place], world: World, verification: Verification
) -> None:
    conninfo = world.clusters.standard.conninfo(installed[Tier.STANDARD].database)
    function = "tiergate_moves.capture()"
    await run_sql(
        conninfo,
        f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN END'",
        f"ALTER FUNCTION {function} OWNER TO tiergate_context",
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
    )
    try:
        told = await look(verification, Asked(cluster="standard-1", tries=False))
    finally:
        await run_sql(conninfo, f"DROP FUNCTION {function}")

    assert [checked for checked in told if checked.is_failed] == []
