"""The keys that sign contexts are replaced while tenants are served, whatever is interrupted when."""

import asyncio

import httpx
import pytest

from pools.errors import ContextRefused
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.operators import World, create, error
from tests.support.places import open_pools, value
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

ALL = [f"rotating-{tier}" for tier in Tier]


class _Killed(BaseException):
    """The process ended here."""


async def placed(world: World, name: str) -> Placement:
    placement = await world.store.route(TenantId(name))
    assert placement is not None
    return placement


async def furnished(api: httpx.AsyncClient, world: World) -> list[Placement]:
    """A tenant of each tier, as the registry places it now, with no old key about."""
    for tier, name in zip(Tier, ALL, strict=True):
        assert (await create(api, name, tier)).is_success
    now = [await placed(world, name) for name in ALL]
    for placement in now:
        assert (await ask(api, "retire", placement, at_once=True)).is_success
    return now


async def ask(api: httpx.AsyncClient, act: str, placement: Placement, **more: object) -> httpx.Response:
    where = {"cluster": placement.place.cluster, "database": placement.place.database}
    return await api.post(f"/context-keys/{act}", json=where | more)


async def known(world: World, placement: Placement) -> list[object]:
    """Which keys the tenant's database knows."""
    there = world.clusters.of(placement.tier).conninfo(placement.place.database)
    return [kid for (kid,) in await run_sql(there, "SELECT kid FROM tiergate.context_key ORDER BY kid")]


async def is_served(pools: Switchboard, placement: Placement) -> bool:
    return await value(pools, placement, "SELECT tiergate.tenant()") == placement.tenant


async def test_both_keys_are_good_until_the_old_one_is_retired(
    ready: httpx.AsyncClient, world: World
) -> None:
    old = await furnished(ready, world)
    async with open_pools() as pools:
        for before in old:
            kid = before.place.context_kid
            done = await ask(ready, "rotate", before)
            assert (done.json()["kid"], done.json()["retiring"]) == (kid + 1, kid)
            now = await placed(world, before.tenant)
            assert now.place.context_kid == kid + 1
            assert now.place.context_key != before.place.context_key
            assert await known(world, now) == [kid, kid + 1]
            assert [await is_served(pools, each) for each in (before, now, before)] == [True] * 3

            done = await ask(ready, "retire", before, at_once=True)
            assert (done.json()["kid"], done.json()["retiring"]) == (kid + 1, None)
            assert await known(world, now) == [kid + 1]
            with pytest.raises(ContextRefused) as refused:
                await is_served(pools, before)
            assert refused.value.doubt == "key"
            assert await is_served(pools, now)


async def test_an_old_key_is_not_retired_while_a_gateway_may_use_it(
    ready: httpx.AsyncClient, world: World
) -> None:
    [standard, *_] = await furnished(ready, world)
    await ask(ready, "rotate", standard)
    refused = await ask(ready, "retire", standard)
    assert (refused.status_code, error(refused)["code"]) == (409, "key-in-use")
    assert len(await known(world, standard)) == 2

    listed = (await ready.get("/context-keys", params={"cluster": "standard-1"})).json()["context_keys"]
    [line] = [each for each in listed if each["database"] == standard.place.database]
    assert 700 < line["retirable_in_s"] <= 750

    world.operations.retire_after_s = 0.0
    try:
        assert (await ask(ready, "retire", standard)).is_success
    finally:
        del world.operations.retire_after_s
    assert len(await known(world, standard)) == 1


async def test_asked_again_it_does_not_rotate_again(ready: httpx.AsyncClient, world: World) -> None:
    for before in await furnished(ready, world):
        answers = [(await ask(ready, "rotate", before)).json()["kid"] for _ in range(3)]

        assert answers == [before.place.context_kid + 1] * 3


@pytest.mark.parametrize(
    "step",
    ["admin.contexts.put_key", "switch_context_key", "admin.contexts.drop_keys_before", "forget_retired_key"],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_whatever_step_it_was_killed_at_the_same_command_completes_it(
    ready: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    old = await furnished(ready, world)
    target = step if "." in step else f"registry.store.Store.{step}"
    module, _, name = target.rpartition(".")
    plain = getattr(world.store, name, None) or getattr(__import__(module, fromlist=[name]), name)

    async def killed(*arguments: object, **more: object) -> None:
        if when == "after":
            await plain(*(arguments[1:] if "." not in step else arguments), **more)
        raise _Killed

    async with open_pools() as pools:
        for before in old:
            with monkeypatch.context() as patch:
                patch.setattr(target, killed)
                for act in ("rotate", "retire"):
                    try:
                        where = (before.place.cluster, before.place.database)
                        await _act(world, act, *where)
                    except _Killed:
                        break
            assert await is_served(pools, await placed(world, before.tenant))

            await ask(ready, "rotate", before)
            assert await is_served(pools, await placed(world, before.tenant))
            await ask(ready, "retire", before, at_once=True)
            now = await placed(world, before.tenant)
            assert await known(world, now) == [now.place.context_kid]
            assert await is_served(pools, now)
            with pytest.raises(ContextRefused):
                await is_served(pools, before)


async def _act(world: World, act: str, cluster: str, database: str) -> None:
    more = {"actor": "test", "deadline": Deadline.after(60)}
    if act == "rotate":
        await world.operations.rotate_context_key(cluster, database, **more)  # type: ignore[arg-type]
    else:
        await world.operations.retire_context_key(cluster, database, at_once=True, **more)  # type: ignore[arg-type]


async def test_several_operators_at_once_rotate_it_once(ready: httpx.AsyncClient, world: World) -> None:
    for before in await furnished(ready, world):
        acts = ["rotate", "rotate", "retire", "rotate", "retire"]
        answers = await asyncio.gather(*(ask(ready, act, before) for act in acts))
        assert {answer.status_code for answer in answers} <= {200, 409}

        now = await placed(world, before.tenant)
        assert now.place.context_kid == before.place.context_kid + 1
        assert set(await known(world, now)) >= {now.place.context_kid}
        async with open_pools() as pools:
            assert await is_served(pools, now)


async def test_a_new_tenant_gets_the_key_that_signs_now(ready: httpx.AsyncClient, world: World) -> None:
    _, premium, _ = await furnished(ready, world)
    await ask(ready, "rotate", premium)
    await ask(ready, "retire", premium, at_once=True)
    assert (await create(ready, "came-later", Tier.PREMIUM)).is_success

    later = await placed(world, "came-later")
    assert later.place.context_kid == premium.place.context_kid + 1
    assert await known(world, later) == [later.place.context_kid]


async def test_what_is_not_there_is_told(ready: httpx.AsyncClient) -> None:
    nowhere = {"cluster": "standard-1", "database": "nowhere"}
    for act in ("rotate", "retire"):
        assert error(await ready.post(f"/context-keys/{act}", json=nowhere))["code"] == "unknown-database"
    unknown = await ready.get("/context-keys", params={"cluster": "nowhere"})
    assert (unknown.status_code, error(unknown)["code"]) == (404, "unknown-cluster")


async def test_each_replacement_is_in_the_audit(ready: httpx.AsyncClient, world: World) -> None:
    [standard, *_] = await furnished(ready, world)
    kid = standard.place.context_kid
    await ask(ready, "rotate", standard)
    await ask(ready, "retire", standard)
    await ask(ready, "retire", standard, at_once=True)

    entries = (await ready.get("/audit", params={"limit": 3})).json()["entries"]
    where = f"{standard.place.cluster}/{standard.place.database}"
    assert [(each["act"], each["subject"], each["outcome"], each["detail"]) for each in entries] == [
        ("context-key.retire", where, "ok", {"kid": kid}),
        ("context-key.retire", where, "key-in-use", {}),
        ("context-key.rotate", where, "ok", {"kid": kid + 1}),
    ]
