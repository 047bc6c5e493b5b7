"""`tiergate demo` in a process group of its own, watched from outside."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.waiting import processes_of, wait_until
from tiergate.embedded.account import Account, Drop

READY_S = 120.0
STOP_S = 30.0


@dataclass(slots=True)
class Demo:
    """`tiergate demo` in a session of its own, as in a terminal of its own.

    Attributes:
        folder: Its `--dir`.
        facts: The content of demo.json; empty until it is ready.
    """

    folder: Path
    process: asyncio.subprocess.Process
    facts: dict[str, Any]  # JSON

    async def makes(self, name: str) -> None:
        """Wait until there is a file of that name in its folder."""

        def look() -> bool:
            assert self.process.returncode is None, f"it ended with {self.process.returncode}"
            return (self.folder / name).exists()

        await wait_until(look, within_s=READY_S, what=name)

    async def ready(self) -> None:
        """Wait for demo.json."""
        await self.makes("demo.json")
        self.facts = json.loads((self.folder / "demo.json").read_text(encoding="utf-8"))

    def ports(self) -> list[int]:
        """Every port that it listens on."""
        addresses = [httpx.URL(self.facts[name]).port for name in ("gateway", "admin")]
        clusters = [cluster["port"] for cluster in self.facts["clusters"].values()]
        return [port for port in (*addresses, *clusters) if port is not None]

    async def ask(self, tenant: str, query: str) -> Any:  # JSON
        """The rows of a query as *tenant*."""
        headers = {"authorization": f"Bearer {self.facts['tenants'][tenant]['key']}"}
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{self.facts['gateway']}/sql", json={"query": query}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    async def end(self, number: signal.Signals) -> int:
        """Signal its whole process group, as a terminal does, and wait for its exit code."""
        os.killpg(self.process.pid, number)
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()

    async def is_gone(self) -> None:
        """Hold that nothing of it runs any more, and that its ports are free."""
        await wait_until(
            lambda: not processes_of(self.folder), within_s=15, what="the end of all of its processes"
        )
        for port in self.ports() if self.facts else []:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"something listens on {port}"
        assert not (self.folder / "demo.json").exists()


@asynccontextmanager
async def open_demo(
    folder: Path, *arguments: str, account: Account | None = None, env: dict[str, str] | None = None
) -> AsyncIterator[Demo]:
    """A demo that has been started; killed with the test if it still runs."""
    drop: Drop = {} if account is None else account.drop()
    python = sys.executable if account is None else python_of(account)
    if not {"--port", "--admin-port"} & set(arguments):
        arguments = (*arguments, "--port", "0", "--admin-port", "0")
    process = await asyncio.create_subprocess_exec(
        python, "-m", "tiergate.cli", "demo", "--dir", str(folder), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}, cwd=folder.parent, limit=1 << 20, **drop,
    )  # fmt: skip
    demo = Demo(folder, process, {})
    try:
        yield demo
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
            await wait_until(lambda: not processes_of(folder), within_s=30, what="the end of its servers")


def python_of(account: Account) -> str:
    """A Python of our version that *account* may run: ours, or the system's; skips when there is none."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/python{version}"):
        if account.can("-x", program) and account.can("-r", httpx.__file__):
            return program
    pytest.skip(f"user {account.uid} may run no Python {version} that is here")
