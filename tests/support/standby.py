"""Streaming standbys of a test's server, both on loopback."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.conninfo import make_conninfo

from tests.support.places import until
from tests.support.postgres import SETTINGS, chosen_binaries, run_sql, server_folder
from tiergate.embedded import Cluster, open_cluster
from tiergate.embedded.home import open_home
from tiergate.embedded.server import run

_COPY_S = 60


@asynccontextmanager
async def open_standby(primary: Cluster, **settings: str) -> AsyncIterator[Cluster]:
    """A standby that follows *primary* and can be read, on a copy of its data; about 1 s."""
    with server_folder() as folder:
        home = open_home(folder / "standby")
        (home.folder / "password").write_text(primary.password, encoding="ascii")
        home.data.mkdir(mode=0o700)
        home.account.give(home.data)
        source = make_conninfo(primary.conninfo(), dbname="", application_name="standby")
        copy = chosen_binaries().readable_by(home.account).program("pg_basebackup")
        arguments = ["-d", source, "-D", str(home.data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        await run([copy, *arguments], home, within_s=_COPY_S)
        opened = open_cluster(folder / "standby", settings=SETTINGS | settings, binaries=chosen_binaries())
        async with opened as standby:
            yield standby


async def follow(standby: Cluster, primary: Cluster) -> None:
    """Have a server that was stopped start again as a standby of *primary*."""
    data = standby.folder / "data"
    (data / "standby.signal").touch()
    source = make_conninfo(primary.conninfo(), dbname="", application_name="standby")
    with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
        settings.write(f"\nprimary_conninfo = '{source}'\n")
    await standby.start(standby.port)


async def caught_up(standby: Cluster, primary: Cluster) -> None:
    """Wait until *standby* shows what *primary* has now."""
    [(there,)] = await run_sql(primary.conninfo(), "SELECT pg_current_wal_flush_lsn()::text")

    async def is_there() -> bool:
        [(done,)] = await run_sql(standby.conninfo(), f"SELECT pg_last_wal_replay_lsn() >= '{there}'::pg_lsn")
        return bool(done)

    await until(is_there)


async def promote(standby: Cluster) -> None:
    """Make a primary of *standby*; returns when it is one."""
    await run_sql(standby.conninfo(), "SELECT pg_promote()")


def kill_9(server: Cluster) -> None:
    """End the server's first process without a word; the others notice and end, too."""
    lines = (server.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)


def hosts(*servers: Cluster) -> str:
    """A conninfo that leads to whichever of *servers* takes writes."""
    return make_conninfo(
        host=",".join(server.host for server in servers),
        port=",".join(str(server.port) for server in servers),
        sslmode="disable", target_session_attrs="read-write",
    )  # fmt: skip
