"""Client libraries for Node that nobody here wrote, unmodified, on each tier.

The suites are in `clients/` and run under Node's own test runner. Each of their
tests is a subtest here, under its own name.
"""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.reach import RunningGateway, lacking, tenant_of
from tiergate.tenant import Tier

CLIENTS = Path(__file__).parent / "clients"
OLDEST_NODE = 20
INSTALL_S = 300.0
SUITE_S = 180.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended: its status, and what it wrote to both outputs."""

    status: int
    said: str


async def run(argv: list[str], *, within_s: float, env: Mapping[str, str] | None = None) -> Ended:
    """Run a program in the clients' folder to its end."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=CLIENTS,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, said.decode(errors="replace"))


def is_older(made: Path, source: Path) -> bool:
    """Whether *made* is missing, or was made before *source* was last written."""
    return not made.exists() or made.stat().st_mtime < source.stat().st_mtime


async def prepare() -> None:
    """Bring `node_modules` and Prisma's generated client up to date, if they are not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        lacking("node and npm are not installed")
    version = (await run(["node", "--version"], within_s=30)).said.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        lacking(f"node {version} is older than {OLDEST_NODE}")
    if is_older(CLIENTS / "node_modules/.package-lock.json", CLIENTS / "package-lock.json"):
        installed = await run(["npm", "ci", "--no-progress"], within_s=INSTALL_S)
        if installed.status != 0:
            lacking(f"npm ci failed: {installed.said[-2000:]}")
    if is_older(CLIENTS / "generated/prisma/index.js", CLIENTS / "schema.prisma"):
        generated = await run(["npm", "run", "generate"], within_s=120)
        assert generated.status == 0, generated.said


@pytest.fixture(scope="session")
async def node() -> None:
    """Node, with everything that the suites import. One process of the test run prepares it at a time."""
    with (CLIENTS / "package-lock.json").open() as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        await prepare()


@dataclass(frozen=True, slots=True)
class NodeTest:
    """One test that Node's runner has run."""

    name: str
    passed: bool
    skipped: bool
    error: str


def read_report(lines: str) -> Iterator[NodeTest]:
    """The tests in what `clients/report.mjs` wrote."""
    for line in lines.splitlines():
        yield NodeTest(**json.loads(line))


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("suite", ["neon", "drizzle", "prisma"])
@pytest.mark.usefixtures("node")
async def test_the_client_works_unmodified(
    suite: str, tier: Tier, gateway: RunningGateway, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    _, tenant = tenant_of(gateway, tier)
    report = tmp_path / "report.jsonl"

    ended = await run(
        [
            "node",
            "--test",
            "--test-reporter=spec",
            "--test-reporter-destination=stdout",
            "--test-reporter=./report.mjs",
            f"--test-reporter-destination={report}",
            *sorted(str(file.relative_to(CLIENTS)) for file in (CLIENTS / suite).glob("*.test.mjs")),
        ],
        within_s=SUITE_S,
        env={
            "TIERGATE_URL": gateway.url,
            "TIERGATE_CONNECTION_STRING": tenant.connection_string,
            "TIERGATE_TIER": tier.value,
        },
    )

    ran = list(read_report(report.read_text()))
    print(f"{suite} on {tier}: {sum(test.passed for test in ran)} of {len(ran)} tests passed")  # noqa: T201 - for -rP
    for test in ran:
        with subtests.test(test.name):
            assert test.passed, test.error
    assert ran, f"no test ran: {ended.said}"
    assert not any(test.skipped for test in ran)
    assert f"pass {len(ran)}\n" in ended.said
    assert ended.status == 0, ended.said
