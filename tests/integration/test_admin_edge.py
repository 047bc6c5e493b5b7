"""The edge of the admin port: who passes, what is understood, and what errors say."""

import asyncio
import json
from collections.abc import Mapping, Sequence

import httpx
import pytest

from admin.app import build_admin
from admin.gate import LARGEST_BODY_BYTES
from tests.support.operators import (
    ADMIN_KEY,
    Side,
    World,
    create,
    error,
    open_client,
    open_world,
)
from tests.support.postgres import ThreeClusters, run_sql


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", f"Basic {ADMIN_KEY}", ADMIN_KEY, "Bearer \xe9"]
)
@pytest.mark.parametrize("path", ["/clusters", "/tenants/acme", "/pools", "/nowhere"])
async def test_nothing_is_shown_or_done_without_the_key(
    world: World, side: Side, authorization: str | None, path: str
) -> None:
    async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY), key=None) as client:
        shown = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
        response = await client.get(path, headers=shown)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert error(response)["code"] == "not-admitted"


async def test_metrics_and_health_need_no_key(world: World, side: Side) -> None:
    async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY), key=None) as client:
        live, ready, metrics = [await client.get(path) for path in ("/livez", "/readyz", "/metrics")]
        side.is_ready = False
        unready = await client.get("/readyz")

    assert (live.status_code, ready.status_code, unready.status_code) == (200, 200, 503)
    assert unready.json() == side.report()
    assert unready.json()["ready"] is False
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "tiergate_requests_total" in metrics.text


async def test_a_key_that_could_be_guessed_is_refused(world: World, side: Side) -> None:
    with pytest.raises(ValueError, match="16 characters"):
        build_admin(world.operations, side.seam(), key="secret")


async def test_every_mistake_of_a_body_is_listed_and_no_value_repeated(api: httpx.AsyncClient) -> None:
    body = {"name": "Not A Label", "tier": "gold", "dsn": ["s3cret-word"], "colour": "s3cret-word"}
    response = await api.post("/clusters", json=body)

    assert response.status_code == 422
    mistakes = error(response)["mistakes"]
    assert isinstance(mistakes, list)
    assert sorted(mistake.split(":")[0] for mistake in mistakes) == ["colour", "dsn", "name", "tier"]
    assert "s3cret-word" not in response.text


@pytest.mark.parametrize("since", ["0.5", "1700000000", "yesterday", "2026-03-01"])
@pytest.mark.parametrize(("path", "name"), [("/audit", "since"), ("/usage", "from"), ("/usage", "to")])
async def test_a_moment_is_written_out(api: httpx.AsyncClient, path: str, name: str, since: str) -> None:
    response = await api.get(path, params={name: since})

    assert (response.status_code, error(response)["code"]) == (422, "body-invalid")


async def test_a_moment_that_utc_cannot_tell_is_refused(api: httpx.AsyncClient) -> None:
    late = {"name": "late", "role": "viewer", "expires_at": "9999-12-31T23:59:59-14:00"}
    made = await api.post("/admin-keys", json=late)
    looked = await api.get("/audit", params={"since": "0001-01-01T00:00:00+14:00"})

    said = "lies outside the years 1 to 9999 in UTC"
    assert (made.status_code, error(made)["mistakes"]) == (422, [f"expires_at: {said}"])
    assert (looked.status_code, error(looked)["mistakes"]) == (422, [f"since: {said}"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"name": "\\ud800"}'])
async def test_what_is_not_the_right_json_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    response = await api.post("/tenants", content=body)

    assert (response.status_code, error(response)["code"]) == (422, "body-invalid")


async def test_a_body_larger_than_the_limit_is_refused(api: httpx.AsyncClient) -> None:
    response = await api.post("/tenants", content=b" " * (LARGEST_BODY_BYTES + 1))

    assert (response.status_code, error(response)["code"]) == (413, "body-too-large")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=", "limit=1001", "colour=red", "tier=gold"])
async def test_a_query_that_is_not_understood_is_refused(api: httpx.AsyncClient, query: str) -> None:
    response = await api.get(f"/tenants?{query}")

    assert (response.status_code, error(response)["code"]) == (422, "body-invalid")


@pytest.mark.parametrize("path", ["/nowhere", "/tenants/", "/tenants//keys", "/tenants/acme/keys/"])
async def test_what_is_not_there_is_refused_in_json(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)

    assert (response.status_code, error(response)["code"]) == (404, "no-such-route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/tenants", "GET, HEAD, POST"),
        ("POST", "/keys/x", "DELETE"),
        ("TRACE", "/clusters/x", "DELETE, GET, HEAD"),
        ("BREW", "/readyz", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_takes(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await api.request(method, path)

    assert (response.status_code, error(response)["code"]) == (405, "wrong-method")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/clusters/a%00b", "/keys/a%00b", "/moves/a%00b", "/tenants/a%00b"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_path_with_what_no_name_holds_is_not_found(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await api.request(method, path, params={"confirm": "a"} if method == "DELETE" else {})

    assert response.status_code in {404, 405, 422}


async def test_the_document_is_shown_to_everybody(world: World, side: Side) -> None:
    async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY), key=None) as client:
        response = await client.get("/openapi.json")

    assert response.json()["openapi"] == "3.1.0"
    assert "/tenants/{name}/moves" in response.json()["paths"]


@pytest.mark.parametrize("path", ["keys", "suspend", "resume", "sql"])
async def test_an_unknown_tenant_is_not_found_everywhere(api: httpx.AsyncClient, path: str) -> None:
    body = {"query": "SELECT 1"} if path == "sql" else {}
    response = await api.post(f"/tenants/nobody/{path}", json=body)

    assert (response.status_code, error(response)["code"]) == (404, "unknown-tenant")


async def test_a_statement_runs_as_the_tenant_and_leaves_a_trace_without_its_text(
    ready: httpx.AsyncClient, side: Side
) -> None:
    await create(ready, "asked")

    done = await ready.post("/tenants/asked/sql", json={"query": "SELECT 'private'", "params": [1, None]})
    failed = await ready.post("/tenants/asked/sql", json={"query": "wrong"})
    entries = (await ready.get("/audit", params={"limit": 2})).json()["entries"]

    assert (done.status_code, done.json()["command"]) == (200, "SELECT")
    assert side.asked[0] == ("asked", {"query": "SELECT 'private'", "params": [1, None]})
    assert (failed.status_code, failed.json()["code"]) == (400, "42601")
    assert [(entry["act"], entry["subject"]) for entry in entries] == [("tenant.sql", "asked")] * 2
    assert "private" not in json.dumps(entries)


async def test_a_statement_is_cancelled_when_the_operator_goes_away(
    ready: httpx.AsyncClient, world: World, side: Side
) -> None:
    await create(ready, "leaving")
    app = build_admin(world.operations, side.seam(), key=ADMIN_KEY)
    body = b'{"query": "forever"}'
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/tenants/leaving/sql",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + ADMIN_KEY.encode())],
    }
    messages: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(_message: object) -> None:
        pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(app(scope, messages.get, send))
        await side.started.wait()
        messages.put_nowait({"type": "http.disconnect"})

    assert side.cancelled.is_set()


async def test_the_configuration_is_reread_on_demand(api: httpx.AsyncClient, side: Side) -> None:
    done = await api.post("/reload")
    side.refuses_reload = True
    refused = await api.post("/reload")

    assert done.json() == {"applied": ["logging.level"], "needs_restart": ["gateway.port"]}
    assert refused.status_code == 409
    assert error(refused)["mistakes"] == ["gateway.port (line 3): found eighty; write a number"]


async def test_the_pools_are_shown(api: httpx.AsyncClient) -> None:
    [budget] = (await api.get("/pools")).json()["budgets"]

    assert budget == {"cluster": "standard-1", "max": 40, "used": 2, "opening": 0, "is_up": True}


async def test_what_nobody_foresaw_shows_nothing_of_the_inside(world: World, side: Side) -> None:
    def boom() -> Mapping[str, Sequence[str]]:
        msg = "s3cret-word"
        raise RuntimeError(msg)

    side.reload = boom  # type: ignore[method-assign]
    async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as client:
        response = await client.post("/reload")

    assert (response.status_code, error(response)["code"]) == (500, "internal")
    assert "s3cret-word" not in response.text


async def test_a_registry_that_is_down_is_told_as_such(servers: ThreeClusters, side: Side) -> None:
    async with open_world(servers) as world:
        database = world.registry_url.rsplit("/", 1)[1]
        await run_sql(servers.standard.conninfo(), f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as client:
            await run_sql(
                servers.standard.conninfo(),
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
            )
            response = await client.get("/tenants")

    assert (response.status_code, error(response)["code"]) == (503, "registry-unavailable")
    assert error(response)["retryable"] is True


@pytest.mark.parametrize(
    "name", ['"; drop schema x; --', "a" * 64, "🦊", "Acme", "-acme", "", "a.b", "acme\n", "acme\x00"]
)
async def test_a_name_that_no_tenant_can_have_is_refused(ready: httpx.AsyncClient, name: str) -> None:
    created = await create(ready, name)

    assert created.status_code == 422
    assert error(created)["mistakes"] == ["name: must be 1 to 63 characters of a-z, 0-9 and inner hyphens"]


@pytest.mark.parametrize("name", ["%22; drop schema x", "A", "a" * 64, "..", "%F0%9F%A6%8A"])
async def test_a_path_with_an_impossible_name_is_not_found(ready: httpx.AsyncClient, name: str) -> None:
    assert (await ready.get(f"/tenants/{name}")).status_code == 404
