"""What `bench.incidents` breaks on purpose, and puts right again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import httpx

from tests.support.crashing import kill_9, stalled
from tests.support.fields import SICK, Field
from tests.support.gateways import TENANTS
from tests.support.http import query, request
from tests.support.load import open_load
from tests.support.postgres import open_test_cluster, run_sql, url_of
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster

BACK_DOOR = "back_door"
"""A function of the application that the guard lets through; see `forged_context`."""

_MAKE = f"""
    CREATE FUNCTION app.{BACK_DOOR}(value text) RETURNS text LANGUAGE sql SECURITY DEFINER
    AS $$ SELECT set_config('tiergate.context', value, true) $$;
    GRANT EXECUTE ON FUNCTION app.{BACK_DOOR}(text) TO PUBLIC;
"""
_FORGED = "tiergate1:" + 64 * "0" + "globex"
_ATTACK = {
    "queries": [
        {"query": f"SELECT {BACK_DOOR}('{_FORGED}')"},
        {"query": "SELECT count(*) AS n FROM members"},
    ]
}
_MOVED = "stuck"
_STEP_S = 120.0

Plant = Callable[[Field], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def noisy_tenant(opened: Field) -> AsyncIterator[None]:
    """One standard tenant asks with forty callers, without a pause."""
    heavy = query("SELECT count(*) AS n FROM generate_series(1, 200000)")
    key = opened.site.keys[TENANTS[SICK]]
    async with open_load(opened.gateway.url, [(request(key, heavy), b'"n"')], callers=40, every_s=0):
        yield


def away(server: Callable[[Field], Cluster]) -> Plant:
    """A server that is killed, and started again in the end."""

    @asynccontextmanager
    async def plant(opened: Field) -> AsyncIterator[None]:
        kill_9(server(opened))
        try:
            yield
        finally:
            await server(opened).start(server(opened).port)

    return plant


@asynccontextmanager
async def forged_context(opened: Field) -> AsyncIterator[None]:
    """An application's function that the guard was told to let through writes another tenant's context.

    It is the worst that gets past the guard; the database holds, as the signature is not its own.
    """
    await run_sql(opened.sick.conninfo(), _MAKE)
    headers = {"authorization": f"Bearer {opened.site.keys[TENANTS[SICK]]}"}

    async def attack() -> None:
        while True:
            answer = await opened.gateway.http.post(
                f"{opened.gateway.url}/sql", json=_ATTACK, headers=headers
            )
            if answer.json().get("code") != "TG002":
                msg = f"the forged context was not refused as such: {answer.text}"
                raise RuntimeError(msg)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as tasks:
        attacker = tasks.create_task(attack(), name="attacker")
        try:
            yield
        finally:
            attacker.cancel()
            await run_sql(opened.sick.conninfo(), f"DROP FUNCTION app.{BACK_DOOR}")


@asynccontextmanager
async def stuck_move(opened: Field) -> AsyncIterator[None]:
    """A move is asked to cut over, and the server where it goes stands still."""
    async with open_test_cluster() as server:
        move = await _ready(opened, url_of(server.conninfo()))
        with stalled(server):
            await _done(opened, "POST", f"/moves/{move}/cutover")
            try:
                yield
            finally:
                await _done(opened, "POST", f"/moves/{move}/abort")
        await _reaches(opened, move, "aborted")


async def _ready(opened: Field, dsn: str) -> str:
    """A move of a tenant of its own to a cluster of its own, that waits for the cut-over; its id."""
    await _done(opened, "POST", "/clusters", {"name": _MOVED, "tier": "premium", "dsn": dsn})
    await _done(opened, "POST", "/tenants", {"name": _MOVED, "tier": SICK})
    wanted = {"to": "premium", "cluster": _MOVED, "hold": True}
    planned = await _done(opened, "POST", f"/tenants/{_MOVED}/moves", wanted)
    move: str = planned.json()["id"]
    await _reaches(opened, move, "ready")
    return move


async def _reaches(opened: Field, move: str, state: str) -> None:
    async def is_there() -> bool:
        with suppress(httpx.TransportError):
            return bool((await _done(opened, "GET", f"/moves/{move}")).json()["state"] == state)
        return False

    await wait_until(is_there, within_s=_STEP_S, what=f"the move to be {state}")


async def _done(opened: Field, method: str, path: str, body: object = None) -> httpx.Response:
    answer = await opened.gateway.ask_admin(method, path, body)
    return answer.raise_for_status()
