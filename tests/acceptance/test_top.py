"""`tiergate top` on a terminal of 80 by 24, over a gateway at work.

It shows who is served and who waits, keys work, a gateway that goes away is waited for, and the terminal is
given back as it was.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.support.commands import clean_env
from tests.support.gateways import ADMIN_KEY, Serving, open_gateway
from tests.support.orders import ACME, CLUSTER, OTHER, PATIENT, Ground, open_ground
from tests.support.terminals import Terminal, open_terminal

TOP = (sys.executable, "-m", "tiergate.cli", "top", "--interval", "0.5")
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


@dataclass(slots=True)
class Scene:
    """A gateway, and how to look on."""

    ground: Ground
    serving: Serving

    def env(self, **more: str) -> Mapping[str, str]:
        """With the gateway's address, and without a size that would hold against the terminal's own."""
        address = {"TIERGATE_ADMIN_URL": self.serving.admin, "TIERGATE_ADMIN_KEY": ADMIN_KEY}
        kept = clean_env(TERM="xterm-256color", **address, **more)
        return {name: value for name, value in kept.items() if name not in {"COLUMNS", "LINES"}}

    @asynccontextmanager
    async def looked_on(self, *words: str, columns: int = 80, **more: str) -> AsyncIterator[Terminal]:
        """The command on a terminal."""
        env, folder = self.env(**more), self.ground.site.folder
        async with open_terminal((*TOP, *words), env, folder, columns=columns) as terminal:
            yield terminal

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Meanwhile both tenants ask all the time."""

        async def ask() -> None:
            async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
                while True:
                    for tenant in (ACME, OTHER, ACME):
                        await self.serving.sql(self.ground.key(tenant), "SELECT 1", client=client)

        callers = [asyncio.create_task(ask()) for _ in range(2)]
        try:
            yield
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    async def piped(self, *words: str) -> tuple[int, str]:
        """The command with a pipe in place of a terminal."""
        process = await asyncio.create_subprocess_exec(
            *TOP, *words, env=dict(self.env()), cwd=self.ground.site.folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()


@pytest.fixture(scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with open_ground() as ground:
        site = ground.site
        async with open_gateway(site.folder, site.registry_url, PATIENT) as serving:
            yield Scene(ground, serving)


def paces(text: str, name: str) -> float:
    """The requests a second in the line that begins with *name*."""
    found = re.search(rf"^[ !]{name} .*?(\d+\.\d|\d+) +\d", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_under_load_a_frame_shows_tiers_clusters_and_tenants_and_its_keys_work(scene: Scene) -> None:
    async with scene.busy(), scene.looked_on() as terminal:
        before = terminal.modes()
        text = await terminal.sees(lambda text: paces(text, "standard") > 0 and paces(text, OTHER) > 0)
        assert text.index(ACME) < text.index(OTHER)
        assert f" {CLUSTER} " in text
        assert "registry up" in text

        terminal.press("e")
        await terminal.sees("*err/s")
        terminal.press("/umb\r")
        await terminal.sees(lambda text: OTHER in text and ACME not in text)
        terminal.press("\x1b")
        await terminal.sees(ACME)
        terminal.press("h")
        await terminal.sees("Ctrl-C   leave")
        terminal.press("x")
        await terminal.sees("TENANT")
        terminal.press("p")
        await terminal.sees("PAUSED")
        terminal.press(" ")
        await terminal.sees(" UTC")
        terminal.resize(60, 16)
        await terminal.sees(lambda text: "TENANT" in text and "TIER" in text)
        terminal.press("q")

        assert await terminal.ended() == 0
        terminal.read()
        assert terminal.sent.endswith(LEFT)
        assert terminal.modes() == before
        assert ADMIN_KEY.encode() not in terminal.sent


async def test_who_waits_is_named_with_the_command_that_tells_more(scene: Scene) -> None:
    body = {"verb": "pause", "tenant": ACME, "for_s": 60, "wait_s": 5}
    assert (await scene.serving.ask_admin("POST", "/orders", body)).is_success
    asked = [asyncio.create_task(scene.serving.sql(scene.ground.key(ACME), "SELECT 1")) for _ in range(4)]
    try:
        async with scene.looked_on() as terminal:
            text = await terminal.sees(f"{ACME} waits: 4 requests in line")
    finally:
        await scene.serving.ask_admin("POST", "/orders", {**body, "verb": "resume"})
        await asyncio.gather(*asked, return_exceptions=True)

    assert f"-> tiergate show --tenant {ACME}" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_gives_the_terminal_back(scene: Scene, number: signal.Signals) -> None:
    async with scene.looked_on() as terminal:
        before = terminal.modes()
        await terminal.sees("TENANT")
        if number is signal.SIGINT:
            terminal.press("\x03")
        else:
            terminal.signal(number)

        assert await terminal.ended() == (0 if number is signal.SIGINT else 128 + number)
        terminal.read()
        assert terminal.sent.endswith(LEFT)
        assert terminal.modes() == before


async def test_a_gateway_that_goes_away_is_said_to_and_asked_again(scene: Scene) -> None:
    async with scene.looked_on() as terminal:
        await terminal.sees("TENANT")
        await scene.serving.die()
        try:
            await terminal.sees("The gateway does not answer")
            terminal.press("e")
            await terminal.sees("*err/s")
        finally:
            await scene.serving.rise()

        await terminal.sees(lambda text: "does not answer" not in text and "TENANT" in text)


async def test_without_colour_nothing_is_coloured_and_what_is_wrong_is_marked(scene: Scene) -> None:
    async with scene.looked_on(NO_COLOR="1") as terminal:
        await terminal.sees("TENANT")

        assert re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.sent) is None


async def test_a_pipe_gets_one_frame_and_a_machine_one_object(scene: Scene) -> None:
    async with scene.busy():
        for words in ((), ("--once",)):
            code, out = await scene.piped(*words)
            assert (code, "\x1b" in out, "TENANT" in out) == (0, False, True)
        code, out = await scene.piped("--json")

    told = httpx.Response(200, text=out).json()
    assert code == 0
    assert told["tiers"][0]["requests_per_s"] > 0
    assert {"clusters", "pools", "tenants", "moves", "orders", "trouble"} <= told.keys()
    assert ADMIN_KEY not in out


async def test_a_wrong_key_ends_it_with_the_reason_and_so_does_no_gateway_in_a_pipe(scene: Scene) -> None:
    async with scene.looked_on("--key", "wrong" * 9) as terminal:
        assert await terminal.ended() == 1
        terminal.read()
        assert LEFT in terminal.sent
        assert b"error:" in terminal.sent.rpartition(LEFT)[2]
    code, out = await scene.piped("--once", "--admin", "http://127.0.0.1:1", "--key", "x" * 20)
    assert (code, "does not answer" in out) == (3, True)
    assert os.environ.get("TIERGATE_ADMIN_KEY") is None or ADMIN_KEY not in out
