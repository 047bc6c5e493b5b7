"""Servers under load, as processes of their own, and what they cost."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
READY_S = 60.0
STOP_S = 20.0
_LISTEN = "0A"


class NotReady(Exception):
    """A server did not come up."""


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that goes away; root's Postgres runs as another user, who can get through."""
    folder = Path(tempfile.mkdtemp(prefix="tiergate-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def wait_listening(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until *port* accepts connections.

    Raises:
        NotReady: The process ended, or READY_S went by.
    """
    try:
        async with asyncio.timeout(READY_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
    except TimeoutError:
        raise NotReady(f"nothing listens on port {port} after {READY_S:.0f} s") from None
    raise NotReady(f"the server for port {port} ended with status {process.returncode}")


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, and make it end if it does not."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def open_uvicorn(app: str, *, env: Mapping[str, str] | None = None) -> AsyncIterator[tuple[int, int]]:
    """An ASGI application in one uvicorn process with uvloop and httptools; yields its port and pid."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "uvicorn", app, "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        env={**os.environ, **(env or {})},
    )
    try:
        await wait_listening(port, process)
        yield port, process.pid
    finally:
        await stop(process)


def listening_pid(port: int) -> int | None:
    """The process that listens on *port* of the loopback address; None where /proc does not tell."""
    try:
        table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    sockets = {
        f"socket:[{column[9]}]"
        for column in map(str.split, table)
        if column[3] == _LISTEN and int(column[1].rpartition(":")[2], 16) == port
    }
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in sockets:
                return int(descriptor.parts[2])
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return None


def cpu_s(pid: int | None) -> float | None:
    """Processor time that a process has used so far; None where /proc does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
