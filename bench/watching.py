"""What is seen from outside while a load runs: connections at the servers, memory, processor time."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.serving import listening_pid
from tiergate.embedded import Cluster

_LOOK_EVERY_S = 0.02
# Those too that have not logged in yet: the server counts them, and so does the budget. The administrator's,
# ours here and the gateway's own once a day to measure storage, are beside the budget.
_LOOK = """
    SELECT count(*) FILTER (WHERE usesysid <> current_user::regrole),
        array_agg(pid || ' since ' || backend_start) FILTER (WHERE usesysid IS NULL),
        array_agg(pid || ' since ' || backend_start) FILTER (WHERE usesysid = current_user::regrole)
    FROM pg_stat_activity WHERE backend_type = 'client backend'
"""


@dataclass(slots=True)
class Seen:
    """Server connections of one cluster, counted at the server; all but the administrator's.

    Who has not logged in yet may turn out to be the administrator, at a later look.

    Attributes:
        looks: How often it was looked.
    """

    looks: int = 0
    _most: int = 0
    _unsure: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    _administrators: set[str] = field(default_factory=set)

    def look(
        self, connections: int, dialled: Sequence[str] | None, administrators: Sequence[str] | None
    ) -> None:
        """Take one look into account."""
        self.looks += 1
        self._most = max(self._most, connections)
        if dialled:
            self._unsure.append((connections, frozenset(dialled)))
        self._administrators.update(administrators or ())

    @property
    def most(self) -> int:
        """At any look."""
        return max([self._most, *(count + len(who - self._administrators) for count, who in self._unsure)])

    @property
    def dialled(self) -> int:
        """How many were still being dialled, at any look."""
        return max((len(who - self._administrators) for _, who in self._unsure), default=0)

    def told(self) -> dict[str, int]:
        """In JSON's terms."""
        return {"most": self.most, "dialled": self.dialled, "looks": self.looks}


@asynccontextmanager
async def watched(clusters: Mapping[str, Cluster]) -> AsyncIterator[dict[str, Seen]]:
    """Meanwhile count server connections, 50 times a second at each of *clusters*."""
    seen = {name: Seen() for name in clusters}

    async def watch(connection: psycopg.AsyncConnection, into: Seen) -> None:
        while True:
            found = await (await connection.execute(_LOOK)).fetchone()
            if found is not None:
                into.look(*found)
            await asyncio.sleep(_LOOK_EVERY_S)

    async with AsyncExitStack() as stack:
        connections = {
            name: await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(cluster.conninfo(), autocommit=True)
            )
            for name, cluster in clusters.items()
        }
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(watch(connection, seen[name]), name=f"watch {name}")
                for name, connection in connections.items()
            ]
            try:
                yield seen
            finally:
                for task in watching:
                    task.cancel()


def resident_bytes(pid: int) -> int | None:
    """Anonymous memory that a process holds; None where /proc does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else None


def servers_cpu_s(ports: Sequence[int]) -> float:
    """Processor time of the servers on *ports*: those that listen there, and all they have started."""
    listening = {listening_pid(port) for port in ports}
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        if (ticks := _ticks(process)) is None:
            continue
        parent, *own = ticks
        if int(process.name) in listening:
            total += sum(own)
        elif parent in listening:
            total += sum(own[:2])
    return total / os.sysconf("SC_CLK_TCK")


def _ticks(process: Path) -> tuple[int, int, int, int, int] | None:
    """A process's parent, and its own and its ended children's time, in user and system mode."""
    try:
        field = (process / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return int(field[1]), int(field[11]), int(field[12]), int(field[13]), int(field[14])
