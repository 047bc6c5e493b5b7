"""Postgres servers that are killed, or stand still, as no server would by itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tiergate.embedded import Cluster


def family(cluster: Cluster) -> list[int]:
    """The server's processes, the postmaster first."""
    told = (cluster.folder / "data" / "postmaster.pid").read_text(encoding="ascii")
    postmaster = int(told.partition("\n")[0])
    found = [postmaster]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                status = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                if int(status[1]) == postmaster:
                    found.append(int(entry.name))
    return found


def kill_9(cluster: Cluster) -> None:
    """End every process of the server with SIGKILL, as when memory runs out or power fails."""
    _send(cluster, signal.SIGKILL)
    cluster.kill()  # takes note of it


@contextmanager
def stalled(cluster: Cluster) -> Iterator[None]:
    """Meanwhile no process of the server runs: the kernel takes connections, and nobody answers."""
    stopped = _send(cluster, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _send(cluster: Cluster, number: signal.Signals) -> list[int]:
    """Send a signal to each process, the postmaster first, so that no new one comes."""
    sent: list[int] = []
    while left := [pid for pid in family(cluster) if pid not in sent]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            sent.append(pid)
    return sent
