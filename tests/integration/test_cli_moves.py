"""`tiergate promote`, `demote`, `move` and `moves`, as they are typed; the test itself is the worker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from admin.app import build_admin
from moves.evidence import Cutover, Servers, TableProof, record
from registry.moves import Move, MoveId, MoveState
from tests.support.commands import Commands, Ran, clean_env, open_commands
from tests.support.moves import cut_over, steps_to
from tests.support.operators import ADMIN_KEY, Side, World, create
from tests.support.postgres import run_sql
from tests.support.waiting import wait_until
from tiergate.listening import Server, listen, url
from tiergate.tenant import TenantId, Tier

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Keyboard:
    """Somebody who types commands, and the API that hears them."""

    commands: Commands
    env: dict[str, str]
    folder: Path
    world: World
    api: httpx.AsyncClient

    async def run(self, *words: str) -> Ran:
        return await self.commands.run(words, self.env, self.folder)

    async def tenant(self, name: str, tier: Tier = Tier.STANDARD) -> TenantId:
        (await create(self.api, name, tier)).raise_for_status()
        return TenantId(name)

    async def moved(self, name: str, *words: str) -> Any:  # JSON
        """A new tenant's move, under way to the premium tier."""
        await self.tenant(name)
        return (await self.run("promote", name, "--to", "premium", "--no-wait", "--json", *words)).json()

    async def claimed(self, number: str) -> Move:
        move = await self.world.store.claim_move("w", for_s=60, only=MoveId(number))
        assert move is not None
        return move


@pytest.fixture(scope="module")
async def commands() -> AsyncIterator[Commands]:
    async with open_commands(ROOT) as opened:
        yield opened


@pytest.fixture
async def keyboard(
    ready: httpx.AsyncClient, world: World, side: Side, commands: Commands, tmp_path: Path
) -> AsyncIterator[Keyboard]:
    """The admin API on an address of its own."""
    server = Server(build_admin(world.operations, side.seam(), key=ADMIN_KEY), lambda: 10.0)
    listening = listen("test", "127.0.0.1", 0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listening]), name="admin address")
        env = clean_env(TIERGATE_ADMIN_URL=url(listening), TIERGATE_ADMIN_KEY=ADMIN_KEY)
        yield Keyboard(commands, env, tmp_path, world, ready)
        server.end(within_s=5)
    listening.close()


async def test_looking_shows_what_would_be_and_what_stands_in_the_way(keyboard: Keyboard) -> None:
    await keyboard.tenant("looked")

    ran = await keyboard.run("promote", "looked", "--to", "government", "--dry-run")
    told = await keyboard.run("promote", "looked", "--to", "government", "--dry-run", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert "government-1 (government)" in ran.out
    assert "Nothing stands in the way." in ran.out
    assert "It would go through. Nothing was changed." in ran.out
    assert told.json()["refused"] is False
    assert (await keyboard.run("moves", "list", "--tenant", "looked", "--json")).json() == {"moves": []}


async def test_what_would_fail_is_told_with_its_cure_and_with_an_exit_code(keyboard: Keyboard) -> None:
    tenant = await keyboard.tenant("unfit", Tier.PREMIUM)
    await plant_loose_table(keyboard.world, tenant)

    looked = await keyboard.run("demote", "unfit", "--to", "standard", "--dry-run")
    asked = await keyboard.run("demote", "unfit", "--to", "standard")

    assert looked.code == asked.code == 1
    assert "no-tenant-column" in looked.out
    assert "It would be refused." in looked.out
    assert asked.err.startswith("error: tenant 'unfit' cannot be moved\n  no-tenant-column: table loose")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("promote", "--to", "standard"), "tiergate demote"),
        (("demote", "--to", "government"), "tiergate promote"),
        (("promote", "--to", "premium"), "tiergate move"),
        (("demote", "--to", "premium"), "tiergate move"),
    ],
)
async def test_up_and_down_are_not_confused(keyboard: Keyboard, words: tuple[str, ...], advice: str) -> None:
    name = f"way-{words[0]}-{words[2]}"
    await keyboard.tenant(name, Tier.PREMIUM)

    ran = await keyboard.run(words[0], name, *words[1:])

    assert ran.code == 2
    assert f"If that is meant: {advice} {name}" in ran.err


@pytest.mark.parametrize(
    "words",
    [("--at", "soon"), ("--soak", "for ever"), ("--at", "8h", "--hold")],
)
async def test_what_is_mistyped_is_told_before_anything_is_asked(
    keyboard: Keyboard, words: tuple[str, ...]
) -> None:
    assert (await keyboard.run("promote", "nobody", "--to", "premium", *words)).code == 2


async def test_who_does_not_wait_is_told_how_to_look_on(keyboard: Keyboard) -> None:
    await keyboard.tenant("leaves")

    ran = await keyboard.run("promote", "leaves", "--to", "premium", "--no-wait", "--soak", "0s")
    [move] = (await keyboard.run("moves", "list", "--tenant", "leaves", "--open", "--json")).json()["moves"]
    listed = await keyboard.run("moves", "list", "--tenant", "leaves")
    again = await keyboard.run("promote", "leaves", "--to", "premium", "--no-wait")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"Move {move['id']} is under way. To look on: tiergate moves watch {move['id']}\n"
    assert move["soak_s"] == 0
    assert "standard-1 (standard)" in listed.out
    assert (again.code, move["id"] in again.err) == (1, True)


async def test_who_waits_is_told_when_the_tenant_lives_at_its_new_place(keyboard: Keyboard) -> None:
    await keyboard.tenant("waits")

    async def work() -> None:
        async def is_planned() -> bool:
            return bool(await keyboard.world.store.moves(tenant=TenantId("waits")))

        await wait_until(is_planned, what="the command to ask for the move")
        [move] = await keyboard.world.store.moves(tenant=TenantId("waits"))
        await cut_over(keyboard.world.store, move.id)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work(), name="worker")
        ran = await keyboard.run("promote", "waits", "--to", "premium")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Tenant waits lives on the premium tier, cluster premium-1.\n")
    assert "it can go back: tiergate moves rollback " in ran.out


async def test_a_move_that_is_held_is_looked_at_until_it_waits(keyboard: Keyboard) -> None:
    number = (await keyboard.moved("held", "--hold"))["id"]
    await steps_to(keyboard.world.store, number, MoveState.READY)

    ran = await keyboard.run("moves", "watch", number)

    assert ran.code == 0
    assert f"It is cut over when you say so: tiergate moves cutover {number}" in ran.out


async def test_an_aborted_move_is_told_with_its_reason_and_an_exit_code(keyboard: Keyboard) -> None:
    number = (await keyboard.moved("fails"))["id"]
    move = await keyboard.claimed(number)
    move = await keyboard.world.store.advance_move(move, MoveState.ABORTING, error="a row differs")
    await keyboard.world.store.advance_move(move, MoveState.ABORTED, error="a row differs")

    ran = await keyboard.run("moves", "watch", number)
    told = await keyboard.run("moves", "watch", number, "--json")

    assert (ran.code, told.code) == (1, 1)
    assert "was aborted: a row differs" in ran.err
    assert told.json()["state"] == "aborted"


async def test_a_move_is_steered_by_words(keyboard: Keyboard) -> None:
    number = (await keyboard.moved("steered", "--hold"))["id"]

    paused = await keyboard.run("moves", "pause", number)
    rests = await keyboard.run("moves", "watch", number)
    resumed = await keyboard.run("moves", "resume", number, "--json")
    early = await keyboard.run("moves", "rollback", number)
    asked = await keyboard.run("moves", "cutover", number)
    aborted = await keyboard.run("moves", "abort", number, "--json")
    nobody = await keyboard.run("moves", "abort", "none")

    assert paused.out == f"The move waits from now on. To go on: tiergate moves resume {number}\n"
    assert f"paused while planned. To go on: tiergate moves resume {number}" in rests.out
    assert resumed.json()["is_paused"] is False
    assert (early.code, "cannot become asked to rollback" in early.err) == (1, True)
    assert f"To look on: tiergate moves watch {number}" in asked.out
    assert aborted.json()["wanted"] == "abort"
    assert nobody.code == 4


async def test_a_move_is_shown_with_its_journal(keyboard: Keyboard) -> None:
    number = (await keyboard.moved("shown"))["id"]
    await steps_to(keyboard.world.store, number, MoveState.COPYING)

    ran = await keyboard.run("moves", "show", number)

    assert (ran.code, ran.err) == (0, "")
    assert "premium-1 (premium)" in ran.out
    assert [word for word in ("planned", "preparing", "copying") if f" {word} " not in f"{ran.out} "] == []
    assert "Now: shown: copying" in ran.out


async def test_the_evidence_is_shown_and_whether_its_signature_holds(keyboard: Keyboard) -> None:
    number = (await keyboard.moved("proves"))["id"]
    early = await keyboard.run("moves", "show", number, "--evidence")
    move = await cut_over(keyboard.world.store, number)
    proofs = [TableProof("members", 20, "ab12", "ab12")]
    said = record(
        move, cutover=Cutover(move.target_epoch or 0, 1, 42, 3), tables=proofs, servers=Servers("18", "18")
    )
    await keyboard.world.store.record_evidence(move, said)

    whole = await keyboard.run("moves", "show", number, "--evidence")
    await keyboard.world.registry("UPDATE tiergate_registry.move SET evidence = evidence #- '{record,actor}'")
    changed = await keyboard.run("moves", "show", number, "--evidence", "--json")

    assert early.code == 4
    assert (whole.code, whole.err) == (0, "")
    assert "The signature holds" in whole.out
    assert "ab12" in whole.out
    assert changed.code == 1
    assert changed.json()["is_authentic"] is False
    assert "evidence-false" in changed.err


async def plant_loose_table(world: World, tenant: TenantId) -> None:
    """A table without a tenant in it, in the tenant's own schema."""
    placement = await world.store.route(tenant)
    assert placement is not None
    place = placement.place
    await run_sql(
        world.clusters.of(place.tier).conninfo(place.database),
        f"CREATE TABLE {place.schema}.loose (id integer PRIMARY KEY)",
    )
