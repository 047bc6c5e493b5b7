"""A tenant is promoted, brought back and demoted by the command, while its callers go on."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from admin.app import build_admin
from registry.moves import MoveState
from tests.acceptance.conftest import Operator, Running, superuser
from tests.support.commands import Commands, Ran, clean_env, open_commands
from tests.support.http import Door
from tests.support.operators import (
    ADMIN_KEY,
    EXAMPLES,
    MASTER_KEY,
    Side,
    add_clusters,
    create,
    open_client,
    open_world,
)
from tests.support.places import open_admin
from tests.support.postgres import open_three_clusters
from tests.support.waiting import wait_until
from tiergate.tenant import TenantId, Tier

ROOT = Path(__file__).parents[2]
WRITE = "INSERT INTO members (email, name) VALUES ($1, 'Ann')"
COUNT = "SELECT count(*)::int, count(DISTINCT email)::int FROM members"


@dataclass(slots=True)
class Writer:
    """A caller who writes a row after another, and remembers what was acknowledged."""

    door: Door
    key: str
    acknowledged: int = 0
    refused: list[str] = field(default_factory=list)

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            answer = await self.door.ask(self.key, WRITE, f"{number}@example.com")
            if answer.status_code == 200:
                self.acknowledged += 1
            else:
                self.refused.append(answer.text)

    async def more(self) -> None:
        """Wait until it has written some rows more."""
        goal = self.acknowledged + 20
        await wait_until(lambda: self.acknowledged >= goal or bool(self.refused), what="rows to be written")


@asynccontextmanager
async def writing(door: Door, key: str) -> AsyncIterator[Writer]:
    writer = Writer(door, key)
    task = asyncio.create_task(writer.run(), name="writer")
    try:
        await writer.more()
        yield writer
    finally:
        task.cancel()


@pytest.fixture(scope="module")
async def commands() -> AsyncIterator[Commands]:
    async with open_commands(ROOT) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Keyboard:
    """Somebody who types commands."""

    commands: Commands
    gateway: Running

    async def run(self, *words: str) -> Ran:
        env = clean_env(TIERGATE_ADMIN_URL=self.gateway.admin, TIERGATE_ADMIN_KEY=self.gateway.admin_key)
        return await self.commands.run(words, env, self.gateway.folder)

    async def last(self, tenant: str) -> Any:  # JSON
        """The tenant's latest move."""
        return (await self.run("moves", "list", "--tenant", tenant, "--json")).json()["moves"][0]


@pytest.fixture
def keyboard(commands: Commands, gateway: Running) -> Keyboard:
    return Keyboard(commands, gateway)


async def test_a_tenant_is_promoted_and_led_back_while_it_writes(
    keyboard: Keyboard, operator: Operator, door: Door
) -> None:
    name, key = await operator.create_tenant("standard")

    async with writing(door, key) as writer:
        promoted = await keyboard.run("promote", name, "--to", "premium")
        there = (await keyboard.run("tenant", "show", name, "--json")).json()["tier"]
        await writer.more()
        number = (await keyboard.last(name))["id"]
        asked = await keyboard.run("moves", "rollback", number)
        back = await keyboard.run("moves", "watch", number)
        await writer.more()

    assert (promoted.code, promoted.err) == (0, "")
    assert promoted.out.startswith(f"Tenant {name} lives on the premium tier, cluster premium.\n")
    assert there == "premium"
    assert (asked.code, back.code, back.err) == (0, 0, "")
    assert back.out == f"Tenant {name} lives at its old place again, on cluster standard.\n"
    assert (await keyboard.run("tenant", "show", name, "--json")).json()["tier"] == "standard"
    assert writer.refused == []
    [[rows, different]] = await door.rows(key, COUNT)
    # One more when the writer was cut off between its statement and the answer.
    assert writer.acknowledged <= rows == different <= writer.acknowledged + 1


async def test_every_tier_is_reached_and_left_and_the_evidence_says_so(
    keyboard: Keyboard, operator: Operator, door: Door
) -> None:
    name, key = await operator.create_tenant("standard")
    many = "INSERT INTO members (email, name) SELECT i || '@x', 'B' FROM generate_series(1, 500) AS i"
    answer = await door.ask(key, many)
    assert answer.status_code == 200, answer.text

    for word, tier in (("promote", "premium"), ("promote", "government"), ("demote", "standard")):
        ran = await keyboard.run(word, name, "--to", tier, "--soak", "0s")
        assert (ran.code, ran.err) == (0, "")
        number = (await keyboard.last(name))["id"]
        done = await keyboard.run("moves", "watch", number)
        assert (done.code, done.err) == (0, "")
        evidence = await keyboard.run("moves", "show", number, "--evidence", "--json")
        record = evidence.json()["record"]
        assert evidence.json()["is_authentic"] is True
        assert (record["rows"], record["is_equal"], record["to"]["tier"]) == (500, True, tier)
        assert set(record["removed"].values()) == {0}
        assert await door.rows(key, COUNT) == [[500, 500]]


async def test_a_move_that_is_held_is_aborted_and_leaves_the_tenant_where_it_was(
    keyboard: Keyboard, operator: Operator, door: Door
) -> None:
    name, key = await operator.create_tenant("standard")
    place = (await keyboard.run("tenant", "show", name, "--json")).json()

    async with writing(door, key) as writer:
        held = await keyboard.run("promote", name, "--to", "government", "--hold")
        number = (await keyboard.last(name))["id"]
        await keyboard.run("moves", "abort", number)
        aborted = await keyboard.run("moves", "watch", number)
        await writer.more()

    assert "It is cut over when you say so" in held.out
    assert (aborted.code, "was aborted" in aborted.err) == (1, True)
    assert (await keyboard.run("tenant", "show", name, "--json")).json() == place
    assert writer.refused == []


async def test_looking_on_ends_by_ctrl_c_and_the_move_goes_on(
    keyboard: Keyboard, operator: Operator, gateway: Running
) -> None:
    name, _ = await operator.create_tenant("standard")
    env = os.environ | {"TIERGATE_ADMIN_URL": gateway.admin, "TIERGATE_ADMIN_KEY": gateway.admin_key}

    async with open_admin(await superuser(gateway, "standard")) as busy, busy.transaction():
        await busy.execute("LOCK TABLE app.members IN ROW EXCLUSIVE MODE")  # no trigger comes on it
        looking = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tiergate.cli", "promote", name, "--to", "premium",
            stderr=asyncio.subprocess.PIPE, env=env,
        )  # fmt: skip

        async def is_under_way() -> bool:
            moves = (await operator.client.get("/moves", params={"tenant": name})).json()["moves"]
            return bool(moves) and moves[0]["state"] == "preparing"

        await wait_until(is_under_way, within_s=60, what="the move to begin")
        looking.send_signal(signal.SIGINT)
        _, err = await looking.communicate()
    number = (await keyboard.last(name))["id"]

    assert (looking.returncode, f"tiergate moves watch {number}" in err.decode()) == (130, True)
    assert (await keyboard.run("moves", "watch", number)).code == 0
    assert (await keyboard.run("tenant", "show", name, "--json")).json()["tier"] == "premium"


async def test_a_process_that_does_nothing_else_carries_moves_until_it_is_told_to_stop(
    tmp_path: Path,
) -> None:
    async with open_three_clusters() as clusters, open_world(clusters) as world:
        async with open_client(build_admin(world.operations, Side().seam(), key=ADMIN_KEY)) as api:
            await add_clusters(api, world)
            (await create(api, "carried")).raise_for_status()
            body = {"to": "premium", "soak_s": 0}
            number = (await api.post("/tenants/carried/moves", json=body)).raise_for_status().json()["id"]
        config = {
            "admin": {"key": ADMIN_KEY},
            "registry": {"url": world.registry_url},
            "secrets": {"master_key": MASTER_KEY},
            "application": {"sql": str(EXAMPLES / "application")},
            "logging": {"level": "info"},
        }
        (tmp_path / "work.yaml").write_text(yaml.safe_dump(config))

        working = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tiergate.cli", "moves", "work", "--config", "work.yaml",
            "--metrics", "127.0.0.1:0",
            cwd=tmp_path, stderr=asyncio.subprocess.PIPE, env=clean_env(PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        try:

            async def is_over() -> bool:
                return (await world.store.move(number)).state.is_over

            await wait_until(is_over, within_s=60, what="the move to be carried to its end")
            assert working.stderr is not None
            said = await working.stderr.readuntil(b'"working"') + await working.stderr.readline()
            [shown] = re.findall(rb'"metrics": ?"(http[^"]*)"', said)
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(shown.decode())).raise_for_status().text
        finally:
            working.send_signal(signal.SIGTERM)
            _, _ = await working.communicate()

        assert (await world.store.move(number)).state is MoveState.DONE
        assert (await world.store.tenant(TenantId("carried"))).tier is Tier.PREMIUM
        assert 'tiergate_move_steps_total{state="done"} 1.0' in metrics
        assert working.returncode == 0


@pytest.mark.parametrize("text", ["9187", ":9187", "127.0.0.1", "127.0.0.1:http"])
async def test_metrics_are_shown_at_an_address_or_nothing_is_begun(
    commands: Commands, tmp_path: Path, text: str
) -> None:
    ran = await commands.run(("moves", "work", "--metrics", text), clean_env(), tmp_path)

    assert (ran.code, "is no address" in ran.err) == (2, True)
