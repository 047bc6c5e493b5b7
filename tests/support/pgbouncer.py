"""A real PgBouncer in transaction mode in front of a server of the tests."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from registry.placement import Placement
from tests.support.gateways import free_ports
from tests.support.postgres import server_folder
from tests.support.waiting import wait_until

_PATH = f"{os.environ['PATH']}:/usr/sbin"
_INI = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
auth_user = {user}
auth_query = SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1
pool_mode = transaction
default_pool_size = {pool_size}
query_wait_timeout = {query_wait_timeout}
{more}
"""


def chosen_pgbouncer() -> tuple[str, tuple[int, int]]:
    """TIERGATE_TEST_PGBOUNCER or the system's binary, and its version; the test is skipped without."""
    binary = os.environ.get("TIERGATE_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=_PATH)
    if binary is None:
        pytest.skip("there is no pgbouncer here: apt-get install pgbouncer, or set TIERGATE_TEST_PGBOUNCER")
    said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found, said
    return binary, (int(found[1]), int(found[2]))


class Server(Protocol):
    """What is needed of the server behind it."""

    def conninfo(self) -> str:
        """The superuser's connection as libpq keywords."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """Where it answers.

    Attributes:
        prepares: Whether it keeps track of statements that are prepared by name.
    """

    address: str
    prepares: bool

    def before(self, placement: Placement) -> Placement:
        """The same placement by way of it."""
        place = replace(placement.place, conninfo=self.address, via_pgbouncer=True, prepares=self.prepares)
        return replace(placement, place=place)


@asynccontextmanager
async def open_pgbouncer(
    server: Server, *, pool_size: int = 2, query_wait_timeout: int = 20
) -> AsyncIterator[Pooler]:
    """One that lets every login of *server* through as itself, *pool_size* at a time for each database."""
    binary, version = chosen_pgbouncer()
    prepares = version >= (1, 21)
    part = {key: str(value) for key, value in conninfo_to_dict(server.conninfo()).items()}
    (own_port,) = free_ports(1)
    with server_folder() as folder:
        ini, users = folder / "pgbouncer.ini", folder / "users"
        users.write_text(f'"{part["user"]}" "{part["password"]}"\n', encoding="utf-8")
        ini.write_text(
            _INI.format(
                host=part["host"], port=part["port"], own_port=own_port, folder=folder, user=part["user"],
                pool_size=pool_size, query_wait_timeout=query_wait_timeout,
                more="max_prepared_statements = 100" if prepares else "",
            ),
            encoding="utf-8",
        )  # fmt: skip
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                binary, *as_nobody, str(ini), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:

            async def answers() -> bool:
                assert process.returncode is None, (folder / "log").read_text(encoding="utf-8")
                try:
                    _reader, writer = await asyncio.open_connection("127.0.0.1", own_port)
                except OSError:
                    return False
                writer.close()
                return True

            await wait_until(answers, what="PgBouncer to answer")
            yield Pooler(make_conninfo("", host="127.0.0.1", port=own_port), prepares)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
