"""After copy and pass the target has what the source has, whatever was written meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from moves import following
from moves.copying import copied
from moves.digests import delta_differs
from moves.ends import open_end
from moves.errors import MoveSuperseded, StructureChanged
from moves.ground import Ground
from moves.loading import open_loading
from moves.passes import apply_dirty, open_pass
from moves.steps import nowhere
from tests.support.moves_engine import Moving, Scribbler, open_moving, rows_read, run_in, run_pass, scribble
from tests.support.places import Places
from tiergate.deadline import Deadline
from tiergate.tenant import Tier


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair) as opened:
        yield opened


@pytest.mark.parametrize("tier", Tier)
async def test_what_concurrent_writers_leave_is_all_there(pair: tuple[Places, Places], tier: Tier) -> None:
    async with open_moving(pair, tier) as moving:
        await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 1), 150)
        await moving.watch()
        stopped = asyncio.Event()

        async def write(seed: int) -> None:
            async with open_end(moving.way.source, Deadline.after(120)) as connection:
                scribbler = Scribbler(moving.tenant, seed)
                while not stopped.is_set():
                    await scribble(connection, moving.way.source, scribbler, 1)

        async with asyncio.TaskGroup() as tasks:
            for seed in (2, 3, 4):
                tasks.create_task(write(seed))
            await moving.copy(rows=5)
            first = await moving.run_pass()
            await moving.run_pass()
            stopped.set()
        await moving.run_pass()

        assert first.keys > first.rows > 0
        assert await moving.differences() == {}
        assert sum(map(bool, (await moving.rows(moving.way.source)).values())) >= 5
        assert await moving.dirty() == 0


async def test_changed_rows_are_looked_up_though_statistics_do_not_know_the_tenant(moving: Moving) -> None:
    """All of its rows were read for each change: 2.8 s for 30 of 50,000, where a cut-over has 2."""
    await moving.take_unknown_seats(3000)
    await moving.watch()
    await moving.copy(rows=1000)
    await moving.write("UPDATE seats SET place = -place WHERE tenant_id = {t} AND id % 150 = 0")
    ends = (moving.source, moving.target)
    before = [await rows_read(connection, "seats") for connection in ends]

    async with open_pass(moving.source, moving.target, moving.way, moving.tables) as done:
        assert await delta_differs(moving.source, moving.target, moving.way, moving.tables, done) == ()
    read = [await rows_read(end, "seats") - known for end, known in zip(ends, before, strict=True)]

    assert done.keys == 20
    assert max(read) <= 5 * done.keys


async def test_inside_a_pass_both_ends_show_the_same_moment(moving: Moving) -> None:
    await moving.watch()
    await moving.copy()
    async with open_end(moving.way.source, Deadline.after(60)) as other:
        await scribble(other, moving.way.source, Scribbler(moving.tenant, 5), 60)
        async with open_pass(moving.source, moving.target, moving.way, moving.tables):
            await scribble(other, moving.way.source, Scribbler(moving.tenant, 6), 60)

            assert await moving.differences() == {}
    assert await moving.dirty() > 0


async def test_a_death_between_the_two_commits_brings_the_same_keys_again(moving: Moving) -> None:
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 7), 100)
    await moving.watch()
    await moving.copy()
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 8), 100)
    logged = await moving.dirty()

    async def die_between() -> None:
        async with moving.source.transaction():
            await moving.source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            async with open_loading(moving.target, moving.way):
                await apply_dirty(moving.source, moving.target, moving.way, moving.tables)
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await die_between()

    assert await moving.differences() == {}
    assert await moving.dirty() == logged > 0
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 9), 50)
    await moving.run_pass()
    assert await moving.differences() == {}


async def test_a_worker_that_was_superseded_changes_nothing(moving: Moving) -> None:
    await moving.watch()
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 10), 60)
    logged, way = await moving.dirty(), replace(moving.way, attempt="00000000-0000-4000-8000-000000000000")

    with pytest.raises(MoveSuperseded):
        await replace(moving, way=way).copy()
    with pytest.raises(MoveSuperseded):
        await run_pass(moving.source, moving.target, way, moving.tables)

    assert not any((await moving.rows(moving.way.target)).values())
    assert await copied(moving.target, way) == {}
    assert await moving.dirty() == logged > 0


async def test_neighbours_at_both_ends_are_left_alone_and_never_logged(pair: tuple[Places, Places]) -> None:
    async with open_moving(pair, Tier.STANDARD) as moving:
        for connection, end in ((moving.source, moving.way.source), (moving.target, moving.way.target)):
            await scribble(connection, end, Scribbler("neighbour", 11), 100)
        before = await moving.rows(moving.way.target, tenant="neighbour")
        await moving.watch()
        await scribble(moving.source, moving.way.source, Scribbler("neighbour", 12), 60)
        unlogged = await moving.dirty()

        await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 13), 100)
        await moving.copy()
        await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 14), 100)
        await moving.run_pass()

        assert unlogged == 0
        assert await moving.rows(moving.way.target, tenant="neighbour") == before
        assert await moving.differences() == {}


async def test_a_table_that_was_emptied_is_brought_over_whole(moving: Moving) -> None:
    await moving.write(
        "INSERT INTO events SELECT {t}, date '2025-12-25' + i, i, 'old' FROM generate_series(1, 20) AS i"
    )
    await moving.watch()
    await moving.copy()

    await moving.write("TRUNCATE events_old; INSERT INTO events VALUES ({t}, '2025-01-01', 99, 'new')")
    await moving.run_pass()

    assert await moving.differences() == {}
    assert len((await moving.rows(moving.way.target))["events"]) == 15


async def test_changes_to_a_table_that_came_later_stop_the_move(moving: Moving) -> None:
    await moving.watch()
    await moving.write("INSERT INTO one VALUES ({t}, 'x')")
    logged = await moving.dirty()
    fewer = [table for table in moving.tables if table.name != "one"]

    with pytest.raises(StructureChanged, match="'one'"):
        await run_pass(moving.source, moving.target, moving.way, fewer)

    assert await moving.dirty() == logged == 1


async def test_more_keys_than_go_at_once_are_all_brought(moving: Moving) -> None:
    await moving.watch()
    await moving.copy()
    await moving.write(
        "INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 5000) AS i;"
        "UPDATE seats SET id = 10000 + id, place = 2501 - place WHERE tenant_id = {t} AND id <= 2500"
    )

    done = await moving.run_pass()

    assert (done.keys, done.rows) == (7500, 5000)
    assert await moving.differences() == {}


async def test_the_way_back_brings_what_was_written_at_the_target(moving: Moving) -> None:
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 15), 100)
    await moving.watch()
    await moving.watch_back()
    await moving.copy()
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 16), 50)
    await moving.run_pass()
    unlogged = await moving.dirty(back=True)

    await run_in(moving.target, moving.way.target, f"DELETE FROM events WHERE tenant_id = '{moving.tenant}'")
    await scribble(moving.target, moving.way.target, Scribbler(moving.tenant, 17), 100)
    await moving.guard_back()
    await moving.run_pass(back=True)

    assert unlogged == 0
    assert await moving.differences() == {}


async def test_who_was_superseded_forgets_nothing_that_clients_wrote_at_the_new_place(moving: Moving) -> None:
    await moving.watch()
    await moving.watch_back()
    await moving.spoil("INSERT INTO one VALUES ({t}, 'past every fence')")
    await moving.target.execute(
        "UPDATE tiergate.import_guard SET attempt = gen_random_uuid() WHERE tenant_id = %s", (moving.tenant,)
    )

    with pytest.raises(MoveSuperseded):
        await following.run_pass(Ground(moving.way, moving.source, moving.target, moving.tables, nowhere))

    assert (await moving.dirty(), await moving.dirty(back=True)) == (0, 1)
