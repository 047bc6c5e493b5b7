"""Writes, chunks, passes, deaths and new workers in any order: at the end both ends are equal."""

import uuid
from contextlib import suppress
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from moves.copying import copy_chunk
from moves.errors import MoveSuperseded
from moves.loading import open_loading
from moves.passes import apply_dirty
from tests.support.moves_engine import Moving, Scribbler, open_moving, scribble
from tests.support.places import Places
from tiergate.tenant import Tier

STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 15)),
    st.tuples(st.just("write"), st.integers(1, 15)),
    st.tuples(st.just("chunk"), st.integers(1, 9)),
    st.tuples(st.just("chunk"), st.integers(1, 9)),
    st.tuples(st.sampled_from(["pass", "death in a pass", "death in a chunk", "taken over"]), st.just(0)),
)


class Death(Exception):
    """The worker is no more."""


async def chunk(moving: Moving, rows: int) -> None:
    """One chunk of the first table that is not done."""
    for table in moving.tables:
        done = await copy_chunk(moving.source, moving.target, moving.way, table, rows=rows)
        if done.rows:
            return


async def die(moving: Moving, what: str) -> None:
    """Do all of it, but commit at the target alone; or nothing at all."""
    if what == "death in a chunk":
        async with moving.target.transaction():
            await chunk(moving, 5)
            raise Death
    async with moving.source.transaction():
        await moving.source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        async with open_loading(moving.target, moving.way):
            await apply_dirty(moving.source, moving.target, moving.way, moving.tables)
        raise Death


async def take_over(moving: Moving) -> Moving:
    """Another worker has the move; the old one tries once more."""
    taken = replace(moving, way=replace(moving.way, attempt=str(uuid.uuid4())))
    await moving.target.execute(
        "UPDATE tiergate.import_guard SET attempt = %s WHERE move_id = %s",
        (taken.way.attempt, taken.way.move),
    )
    with suppress(MoveSuperseded):
        await moving.run_pass()
    return taken


@settings(
    max_examples=12, deadline=None, database=None, derandomize=True,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=[*HealthCheck],
)  # fmt: skip
@given(st.integers(0, 9999), st.lists(STEPS, min_size=15, max_size=40))
async def test_whatever_happens_both_ends_are_equal_after_the_last_pass(
    pair: tuple[Places, Places], seed: int, steps: list[tuple[str, int]]
) -> None:
    async with open_moving(pair, Tier.STANDARD) as opened:
        moving = opened
        scribbler = Scribbler(moving.tenant, seed)
        await scribble(moving.source, moving.way.source, scribbler, 30)
        await moving.watch()
        for what, number in steps:
            match what:
                case "write":
                    await scribble(moving.source, moving.way.source, scribbler, number)
                case "chunk":
                    await chunk(moving, number)
                case "pass":
                    await moving.run_pass()
                case "taken over":
                    moving = await take_over(moving)
                case _:
                    with suppress(Death):
                        await die(moving, what)
        await moving.copy()
        await moving.run_pass()

        assert await moving.differences() == {}
        assert await moving.dirty() == 0
