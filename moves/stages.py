"""The stages of a move before its cut-over, each in pieces that end soon.

Every piece may be done twice. None of them decides what comes next.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial

from fleet.access import Connection
from moves import capture, guard
from moves.copying import copied, copy_chunk
from moves.digests import compare_chunk
from moves.ends import open_end
from moves.errors import StructureChanged
from moves.fencing import hold_stamp, unstamp
from moves.following import catch_up
from moves.ground import Ground
from moves.sequences import advance
from moves.steps import Step
from moves.tables import Table, fingerprint
from moves.throttle import Pace, Throttle, probe_of, rows_for
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

PIECE_ROWS = 5_000
"""Compared at one time: some tens of milliseconds."""

_FIRST_ROWS = 1_000


@dataclass(slots=True)
class Pacing:
    """How fast one copy goes, as far as it has been found out.

    Attributes:
        rows: Of the next chunk.
    """

    pace: Pace = field(default_factory=Pace)
    rows: int = _FIRST_ROWS


@dataclass(frozen=True, slots=True)
class Count:
    """How far a stage is.

    Attributes:
        after: The last key of *table* that was done; None before the first.
    """

    rows: int = 0
    size_bytes: int = 0
    table: str | None = None
    after: tuple[str, ...] | None = None
    is_done: bool = False

    @classmethod
    def of(cls, told: object) -> "Count":
        """What `told` has written; a new one from anything else."""
        if not isinstance(told, Mapping):
            return cls()
        after = told.get("after")
        return cls(
            rows=int(told.get("rows", 0)),
            size_bytes=int(told.get("size_bytes", 0)),
            table=told.get("table"),
            after=None if after is None else tuple(after),
        )

    def told(self) -> dict[str, object]:
        """As JSON, for the registry and for people."""
        return {"rows": self.rows, "size_bytes": self.size_bytes, "table": self.table, "after": self.after}


async def refuse_unlike(ground: Ground) -> None:
    """See that both ends have the same tables, built alike.

    Raises:
        StructureChanged: They have not.
    """
    here = await fingerprint(ground.source, ground.source_schema)
    there = await fingerprint(ground.target, ground.target_schema)
    if here != there:
        raise StructureChanged(ground.way.tenant, "they were made from other SQL, or changed since")


async def begin_capture(ground: Ground) -> None:
    """Log the tenant's changes at the source from now on, and those at the target that are not ours."""
    way = ground.way
    await capture.install(
        ground.source, way.move, way.tenant, ground.source_schema, ground.tables,
        always=True, allowed=partial(hold_stamp, ground.source, way),
    )  # fmt: skip
    await ground.reached(Step.SOURCE_CAPTURED)
    await capture.install(
        ground.target, way.move, way.tenant, ground.target_schema, ground.tables,
        always=False, allowed=partial(guard.hold, ground.target, way),
    )  # fmt: skip
    await ground.reached(Step.TARGET_CAPTURED)
    await advance(ground.source, ground.target, way, ground.tables)
    await ground.reached(Step.SEQUENCES_ADVANCED)


async def take_back(ground: Ground) -> None:
    """Remove the triggers, guards and stamps of a move that is over, at both ends."""
    way = ground.way
    for connection, schema in (
        (ground.source, ground.source_schema),
        (ground.target, ground.target_schema),
    ):
        await capture.remove(connection, way.move, schema)
        await guard.drop(connection, way)
        await unstamp(connection, way)


def open_probe(ground: Ground, within_s: float) -> AbstractAsyncContextManager[Connection]:
    """A connection of its own to the source, to feel how fast it is meanwhile."""
    way = ground.way
    return open_end(way.source, Deadline.after(within_s), way.session)


async def copy(ground: Ground, pacing: Pacing, probe: Connection, deadline: Deadline) -> Count:
    """Copy chunk after chunk, for as long as there is time, no faster than others at the source can bear."""
    throttle = Throttle(probe_of(probe), pacing.pace)
    done = await copied(ground.target, ground.way)
    for table in ground.tables:
        if table.name in done and done[table.name].is_done:
            continue
        is_last = False
        while not is_last:
            if not deadline.left_s():
                return await _count(ground, table.name, is_done=False)
            is_last = await throttle.run(partial(_copy_chunk, ground, table, pacing))
            await ground.reached(Step.CHUNK_COPIED)
    return await _count(ground, None, is_done=True)


async def _copy_chunk(ground: Ground, table: Table, pacing: Pacing) -> bool:
    began_s = time.monotonic()
    chunk = await copy_chunk(ground.source, ground.target, ground.way, table, rows=pacing.rows)
    pacing.rows = rows_for(pacing.rows, time.monotonic() - began_s, chunk.size_bytes)
    return chunk.is_last


async def verify(
    ground: Ground, count: Count, pacing: Pacing, probe: Connection, deadline: Deadline
) -> Count:
    """Compare chunk after chunk by digests that the databases compute, for as long as there is time.

    No faster than others at the source can bear.

    What differs may just have changed: it is looked at again after a pass, at one moment of the source.

    Raises:
        RowsDiffer: It differs then, too.
    """
    names = [table.name for table in ground.tables]
    tables = ground.tables[names.index(count.table) if count.table in names else 0 :]
    after, rows = count.after, count.rows
    throttle = Throttle(probe_of(probe), pacing.pace)
    for table in tables:
        is_last = False
        while not is_last:
            if not deadline.left_s():
                return Count(rows=rows, table=table.name, after=after)
            compare = partial(
                compare_chunk, ground.source, ground.target, ground.way, table, after, PIECE_ROWS
            )
            seen = await throttle.run(compare)
            if seen.differing:
                await catch_up(ground, (table, seen.differing))
            rows += seen.rows
            after, is_last = seen.after, seen.after is None
            await ground.reached(Step.CHUNK_COMPARED)
    return Count(rows=rows, is_done=True)


async def analyze(ground: Ground) -> None:
    """Tell the target's planner what has come, where nobody else's rows are in the tables."""
    if ground.way.target.placement.tier is Tier.STANDARD:
        return
    for table in ground.tables:
        await ground.target.execute(f"ANALYZE {table.within(ground.target_schema)}".encode())


async def _count(ground: Ground, table: str | None, *, is_done: bool) -> Count:
    done = (await copied(ground.target, ground.way)).values()
    return Count(sum(each.rows for each in done), sum(each.size_bytes for each in done), table, None, is_done)
