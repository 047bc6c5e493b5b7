"""What an operator may ask of moves, and what is refused before anything is changed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from moves.evidence import Cutover, Servers, TableProof, record
from registry.moves import Wanted
from registry.records import Asked
from tests.support.moves import cut_over
from tests.support.operators import World, create, error
from tests.support.postgres import run_sql, url_of
from tiergate.tenant import TenantId, Tier

NOBODY = "00000000-0000-0000-0000-000000000000"


async def plan(api: httpx.AsyncClient, name: str, to: str = "premium", **said: object) -> httpx.Response:
    return await api.post(f"/tenants/{name}/moves", json={"to": to, **said})


async def planned(api: httpx.AsyncClient, name: str, **said: object) -> dict[str, Any]:
    """A new tenant on the standard tier, and its move."""
    (await create(api, name)).raise_for_status()
    found: dict[str, Any] = (await plan(api, name, "premium", **said)).raise_for_status().json()
    return found


async def outcomes(world: World, act: str, subject: str) -> list[str]:
    entries = await world.store.audit_entries(1000, Asked(act=act))
    return [each.entry.outcome for each in reversed(entries) if each.entry.subject == subject]


async def test_a_move_is_written_down_and_shown_with_its_journal(
    ready: httpx.AsyncClient, world: World
) -> None:
    made = await planned(ready, "goes", soak_s=60)

    shown = (await ready.get(f"/moves/{made['id']}")).json()
    listed = (await ready.get("/moves", params={"tenant": "goes", "open": "true"})).json()["moves"]

    assert (shown["tenant"], shown["state"], shown["soak_s"]) == ("goes", "planned", 60)
    assert (shown["from"]["cluster"], shown["to"]["cluster"]) == ("standard-1", "premium-1")
    assert [step["state"] for step in shown["steps"]] == ["planned"]
    assert [move["id"] for move in listed] == [made["id"]]
    assert made["preflight"]["refused"] is False
    assert await outcomes(world, "move.plan", "goes") == ["ok"]


async def test_looking_changes_nothing(ready: httpx.AsyncClient, world: World) -> None:
    (await create(ready, "looks")).raise_for_status()
    before = await world.registry("SELECT count(*) FROM tiergate_registry.audit")

    seen = (await plan(ready, "looks", dry_run=True)).raise_for_status().json()

    assert (seen["dry_run"], seen["from"], seen["to"], seen["tier"]) == (
        True, "standard-1", "premium-1", "premium",
    )  # fmt: skip
    assert {table["table"] for table in seen["tables"]} == {"members", "projects", "tasks"}
    assert (await ready.get("/moves", params={"tenant": "looks"})).json() == {"moves": []}
    assert await world.registry("SELECT count(*) FROM tiergate_registry.audit") == before


async def test_what_would_fail_is_refused_with_every_reason_and_left_alone(
    ready: httpx.AsyncClient, world: World
) -> None:
    (await create(ready, "stuck", Tier.PREMIUM)).raise_for_status()
    placement = await world.store.route(TenantId("stuck"))
    assert placement is not None
    schema = placement.place.schema
    await run_sql(
        world.clusters.premium.conninfo(placement.place.database),
        f"ALTER TABLE {schema}.tasks DROP CONSTRAINT tasks_pkey",
        f"CREATE TABLE {schema}.loose (id integer PRIMARY KEY)",
    )

    refused = await plan(ready, "stuck", "standard")
    seen = (await plan(ready, "stuck", "standard", dry_run=True)).json()

    assert (refused.status_code, error(refused)["code"]) == (409, "move-refused")
    mistakes = error(refused)["mistakes"]
    assert isinstance(mistakes, list)
    all_of_them = ["no-primary-key", "no-tenant-column", "structure"]
    assert [str(each).partition(":")[0] for each in mistakes] == all_of_them
    assert [each["code"] for each in seen["findings"]] == all_of_them
    assert seen["refused"] is True
    assert (await ready.get("/moves", params={"tenant": "stuck"})).json() == {"moves": []}
    assert await outcomes(world, "move.plan", "stuck") == ["move-refused"]


async def test_a_tenant_goes_where_it_may_and_is_not(ready: httpx.AsyncClient, world: World) -> None:
    (await create(ready, "here")).raise_for_status()
    body = {"name": "held", "tier": "standard", "region": "eu"}
    (await ready.post("/tenants", json=body)).raise_for_status()
    await run_sql(world.clusters.premium.conninfo(), "CREATE DATABASE elsewhere")
    dsn = url_of(world.clusters.premium.conninfo("elsewhere"))
    other = {"name": "premium-us", "tier": "premium", "region": "us", "dsn": dsn}
    (await ready.post("/clusters", json=other)).raise_for_status()

    refused = [
        await plan(ready, "here", "standard"),
        await plan(ready, "here", "standard", cluster="standard-1"),
        await plan(ready, "here", "premium", cluster="government-1"),
        await plan(ready, "here", "premium", cluster="nowhere"),
        await plan(ready, "held", "premium", cluster="premium-us"),
        await plan(ready, "nobody", "premium"),
    ]
    # Gone before another test's tenant could be sent there.
    gone = await ready.delete("/clusters/premium-us", params={"confirm": "premium-us"})

    assert gone.status_code == 200
    assert [(each.status_code, error(each)["code"]) for each in refused] == [
        (409, "same-place"), (409, "same-place"), (409, "wrong-tier"), (404, "unknown-cluster"),
        (409, "residency-violated"), (404, "unknown-tenant"),
    ]  # fmt: skip
    assert (await plan(ready, "held", "premium")).json()["to"]["cluster"] == "premium-1"


async def test_a_tenant_of_a_tier_goes_to_another_cluster_of_it_without_being_told_which(
    ready: httpx.AsyncClient, world: World
) -> None:
    await run_sql(world.clusters.government.conninfo(), "CREATE DATABASE second")
    body = {"name": "government-2", "tier": "government", "region": "eu"}
    dsn = url_of(world.clusters.government.conninfo("second"))
    (await ready.post("/clusters", json=body | {"dsn": dsn})).raise_for_status()
    made = {"name": "aside", "tier": "government", "cluster": "government-2"}
    (await ready.post("/tenants", json=made)).raise_for_status()

    seen = await plan(ready, "aside", "government", dry_run=True)

    assert (seen.json()["from"], seen.json()["to"]) == ("government-2", "government-1")


async def test_a_tenant_is_neither_moved_twice_nor_deleted_meanwhile(ready: httpx.AsyncClient) -> None:
    move = await planned(ready, "once")

    again = await plan(ready, "once", "government")
    looked = await plan(ready, "once", "government", dry_run=True)
    await ready.post("/tenants/once/suspend")
    deleted = await ready.delete("/tenants/once", params={"confirm": "once"})

    for each in (again, looked, deleted):
        assert (each.status_code, error(each)["code"]) == (409, "move-open")
        assert move["id"] in str(error(each)["message"])


async def test_of_two_who_ask_at_once_one_is_refused(ready: httpx.AsyncClient) -> None:
    (await create(ready, "both")).raise_for_status()

    answers = await asyncio.gather(plan(ready, "both"), plan(ready, "both"))

    assert sorted(each.status_code for each in answers) == [201, 409]


async def test_what_is_asked_of_a_move_fits_its_state(ready: httpx.AsyncClient, world: World) -> None:
    number = (await planned(ready, "asked", hold=True))["id"]

    async def ask(wanted: str) -> tuple[int, object]:
        answer = await ready.post(f"/moves/{number}/{wanted}")
        if answer.status_code == 200:
            return 200, {name: answer.json()[name] for name in ("wanted", "is_paused")}
        return answer.status_code, error(answer)["code"]

    assert await ask("pause") == (200, {"wanted": None, "is_paused": True})
    assert await ask("resume") == (200, {"wanted": None, "is_paused": False})
    assert await ask("rollback") == (409, "wrong-state")
    assert await ask("cutover") == (200, {"wanted": "cutover", "is_paused": False})
    assert await ask("abort") == (200, {"wanted": "abort", "is_paused": False})
    await cut_over(world.store, number)
    assert await ask("abort") == (409, "wrong-state")
    assert await ask("cleanup") == (200, {"wanted": "cleanup", "is_paused": False})
    assert await ask("rollback") == (200, {"wanted": "rollback", "is_paused": False})
    assert await outcomes(world, "move.rollback", number) == ["wrong-state"]
    assert await outcomes(world, "move.rollback", "asked") == ["ok"]


@pytest.mark.parametrize("wanted", ["pause", "resume", *Wanted])
async def test_there_is_nothing_to_ask_of_a_move_that_is_not(ready: httpx.AsyncClient, wanted: str) -> None:
    answer = await ready.post(f"/moves/{NOBODY}/{wanted}")

    assert (answer.status_code, error(answer)["code"]) == (404, "unknown-move")


async def test_only_a_word_that_there_is_can_be_asked(ready: httpx.AsyncClient) -> None:
    move = await planned(ready, "words")

    assert (await ready.post(f"/moves/{move['id']}/explode")).status_code == 404
    assert (await ready.get(f"/moves/{NOBODY}")).status_code == 404
    assert (await ready.get("/moves/no-uuid")).status_code == 404


async def test_every_mistake_of_a_request_is_told(ready: httpx.AsyncClient) -> None:
    (await create(ready, "wrong")).raise_for_status()
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    past = await plan(ready, "wrong", at="2020-01-01T00:00:00Z")
    both = await plan(ready, "wrong", at=later, hold=True)
    soak = await plan(ready, "wrong", soak_s=-1, more=1)
    tier = await ready.post("/tenants/wrong/moves", json={})
    page = await ready.get("/moves", params={"open": "perhaps"})

    assert [error(each)["mistakes"] for each in (past, both)] == [
        ["at: lies in the past"], ["body: give at or hold, not both"],
    ]  # fmt: skip
    assert len(error(soak)["mistakes"]) == 2  # type: ignore[arg-type]  # a list
    assert error(tier)["mistakes"] == ["to: is missing"]
    assert {each.status_code for each in (past, both, soak, tier, page)} == {422}


async def test_the_evidence_of_a_move_is_signed_and_a_change_of_it_is_told(
    ready: httpx.AsyncClient, world: World
) -> None:
    number = (await planned(ready, "proven"))["id"]
    early = await ready.get(f"/moves/{number}/evidence")
    move = await cut_over(world.store, number)
    proofs = [TableProof("members", 20, "ab", "ab"), TableProof("tasks", 5, "cd", "cd")]
    said = record(
        move,
        cutover=Cutover(move.target_epoch or 0, 1, 42, 3),
        tables=proofs,
        servers=Servers("18.1", "18.1"),
    )
    await world.store.record_evidence(move, said)

    whole = (await ready.get(f"/moves/{number}/evidence")).json()
    await world.registry(
        "UPDATE tiergate_registry.move SET evidence = jsonb_set(evidence, '{record,rows}', '24')"
    )
    changed = (await ready.get(f"/moves/{number}/evidence")).json()

    assert (early.status_code, error(early)["code"]) == (404, "not-proven")
    assert whole["is_authentic"] is True
    assert whole["record"]["rows"] == 25
    assert whole["record"]["actor"] == "admin"
    assert whole["record"]["from"]["cluster"] == "standard-1"
    assert whole["record"]["cutover"] == {"attempts": 1, "locked_ms": 42, "delta_rows": 3}
    assert changed["is_authentic"] is False


async def test_a_move_that_soaks_says_until_when(ready: httpx.AsyncClient, world: World) -> None:
    number = (await planned(ready, "soaks", soak_s=600))["id"]

    await cut_over(world.store, number)

    shown = (await ready.get(f"/moves/{number}")).json()
    spared = datetime.fromisoformat(shown["soaks_until"]) - datetime.fromisoformat(shown["cut_over_at"])
    assert spared == timedelta(seconds=600)
    assert (await ready.get("/tenants/soaks")).json()["tier"] == "premium"
