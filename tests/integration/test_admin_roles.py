"""What the holders of admin keys may do, and that nobody may do more."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from admin.app import build_admin
from admin.contract import Act
from registry.admin_keys import AdminKeys, Role, open_admin_keys
from registry.feed import Feed
from registry.limits import Limits
from tests.support.operators import ADMIN_KEY, Side, World, error, open_client, open_world
from tests.support.postgres import ThreeClusters, run_sql
from tests.support.waiting import wait_until

ACROSS_KEY = "the-key-across-tenants-of-the-tests-01"
LIMITS = Limits(size=100, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)

Open = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def keys(world: World) -> AsyncIterator[AdminKeys]:
    async with open_admin_keys(world.store, LIMITS) as opened:
        yield opened


@asynccontextmanager
async def holding(world: World, side: Side, keys: AdminKeys, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows *key*."""
    app = build_admin(
        world.operations, side.seam(), key=ADMIN_KEY, cross_tenant_key=ACROSS_KEY, check=keys.check
    )
    async with open_client(app, key=key) as client:
        yield client


async def make(api: httpx.AsyncClient, name: str, role: Role, **more: object) -> dict[str, str]:
    """A key of that role; its text is `key`."""
    response = await api.post("/admin-keys", json={"name": name, "role": role, **more})
    response.raise_for_status()
    made: dict[str, str] = response.json()
    return made


def acts(app_of: httpx.AsyncClient) -> list[Act]:
    """The routes that a role is needed for."""
    app = app_of._transport.app  # type: ignore[attr-defined]  # an ASGITransport's
    return [act for act in app.state.acts if isinstance(act.needs, Role)]


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_it_covers_and_nothing_more(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys, role: Role
) -> None:
    made = await make(api, f"all-{role}", role)

    async with holding(world, side, keys, made["key"]) as client:
        answers = [
            (act, await client.request(act.method, re.sub(r"{\w+}", "nobody", act.path), content=b'{"x": 1}'))
            for act in acts(client)
        ]

    refused = {act.name for act, answer in answers if answer.status_code == 403}
    assert refused == {act.name for act, _ in answers if not role.covers(act.needs)}  # type: ignore[arg-type]
    assert {error(answer)["code"] for act, answer in answers if act.name in refused} <= {"role-missing"}
    assert not [act.name for act, answer in answers if answer.status_code in {401, 500}]


async def test_who_acts_is_the_keys_name_whatever_the_request_says(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys
) -> None:
    made = await make(api, "ann", Role.OWNER)

    async with holding(world, side, keys, made["key"]) as client:
        headers = {"tiergate-actor": "somebody else"}
        await client.delete("/clusters/nowhere", params={"confirm": "nowhere"}, headers=headers)
        entries = (await client.get("/audit", params={"actor": "ann"})).json()["entries"]

    assert [(entry["act"], entry["outcome"]) for entry in entries] == [("cluster.remove", "unknown-cluster")]


async def test_what_a_role_does_not_cover_is_written_down(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys
) -> None:
    made = await make(api, "bob", Role.VIEWER)

    async with holding(world, side, keys, made["key"]) as client:
        response = await client.post("/tenants/acme/suspend")
    [entry] = (await api.get("/audit", params={"actor": "bob", "tenant": "acme"})).json()["entries"]

    assert (response.status_code, error(response)["code"]) == (403, "role-missing")
    assert (entry["act"], entry["outcome"]) == ("role.refused", "role-missing")
    assert entry["subject"] == "POST /tenants/{name}/suspend"


async def test_a_key_ends_when_it_should(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    made = await make(api, "carl", Role.VIEWER, expires_at=soon.isoformat())
    late = AdminKeys(keys._cache, now=lambda: soon)

    async with holding(world, side, keys, made["key"]) as client:
        before = await client.get("/clusters")
    async with holding(world, side, late, made["key"]) as client:
        after = await client.get("/clusters")

    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_revoked_key_is_refused_at_once_where_it_was_believed(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys
) -> None:
    class Nobody:
        def forget(self, _name: str) -> None: ...

        def doubt(self) -> None: ...

    made = await make(api, "dora", Role.VIEWER)
    feed = Feed(world.registry_url, Nobody(), keys, emit=lambda _event: None)
    async with asyncio.TaskGroup() as tasks, holding(world, side, keys, made["key"]) as client:
        listening = tasks.create_task(feed.run())
        await wait_until(lambda: feed.is_listening, what="the feed to listen")
        before = await client.get("/clusters")

        revoked = await api.delete(f"/admin-keys/{made['id']}")

        async def is_refused() -> bool:
            return (await client.get("/clusters")).status_code == 401

        await wait_until(is_refused, what="the key to be refused")
        listening.cancel()
    assert before.status_code == 200
    assert (revoked.json()["state"], revoked.json()["name"]) == ("revoked", "dora")


async def test_a_name_is_of_one_key_until_that_is_revoked(api: httpx.AsyncClient) -> None:
    made = await make(api, "emma", Role.VIEWER)

    taken = await api.post("/admin-keys", json={"name": "emma", "role": "owner"})
    await api.delete(f"/admin-keys/{made['id']}")
    again = await api.post("/admin-keys", json={"name": "emma", "role": "owner"})

    assert (taken.status_code, error(taken)["code"]) == (409, "admin-key-taken")
    assert again.status_code == 201
    listed = [key for key in (await api.get("/admin-keys")).json()["admin_keys"] if key["name"] == "emma"]
    assert [key["state"] for key in listed] == ["revoked", "valid"]
    assert not any("key" in key for key in listed)


async def test_the_registry_keeps_no_text_of_a_key(api: httpx.AsyncClient, world: World) -> None:
    made = await make(api, "fred", Role.OWNER)

    [(row,)] = await world.registry(
        "SELECT to_jsonb(k)::text FROM tiergate_registry.admin_key k WHERE name = 'fred'"
    )

    assert made["key"][17:] not in str(row)


@pytest.mark.parametrize("shown", ["tga_aaaaaaaaaaaa_" + "x" * 43, "tga_", "tga_aaaaaaaaaaaa_é", ""])
async def test_a_key_that_was_never_made_is_refused(
    world: World, side: Side, keys: AdminKeys, shown: str
) -> None:
    async with holding(world, side, keys, "x") as client:
        headers = [(b"authorization", f"Bearer {shown}".encode("latin-1"))]
        response = await client.get("/clusters", headers=headers)

    assert (response.status_code, error(response)["code"]) == (401, "not-admitted")


async def test_an_owners_key_does_not_open_the_door_across_tenants(
    api: httpx.AsyncClient, world: World, side: Side, keys: AdminKeys
) -> None:
    made = await make(api, "gina", Role.OWNER)

    async with holding(world, side, keys, made["key"]) as client:
        response = await client.post("/read-across-all-tenants", json={})
    [entry] = (await api.get("/audit", params={"actor": "gina"})).json()["entries"]

    assert (response.status_code, error(response)["code"]) == (403, "across-key-needed")
    assert (entry["act"], entry["outcome"]) == ("across.read", "across-key-needed")


async def test_while_the_registry_is_down_the_key_of_the_settings_works(
    servers: ThreeClusters, side: Side
) -> None:
    async with open_world(servers) as world, open_admin_keys(world.store, LIMITS) as keys:
        async with holding(world, side, keys, ADMIN_KEY) as client:
            known, other = [await make(client, name, Role.VIEWER) for name in ("known", "other")]
        async with holding(world, side, keys, known["key"]) as client:
            await client.get("/pools")
        database = world.registry_url.rsplit("/", 1)[1]
        await run_sql(servers.standard.conninfo(), f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await run_sql(
            servers.standard.conninfo(),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
        )
        answers = []
        for key in (ADMIN_KEY, known["key"], other["key"]):
            async with holding(world, side, keys, key) as client:
                answers.append((await client.get("/pools")).status_code)

    assert answers == [200, 200, 503]
