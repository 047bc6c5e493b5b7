"""Moves that make no way keep no others from being worked on."""

import asyncio

import pytest

from moves.turns import Turns


class Pieces:
    """Pieces of moves that go on until the test ends them."""

    def __init__(self, turns: Turns, tasks: asyncio.TaskGroup) -> None:
        self._turns = turns
        self._tasks = tasks
        self.ends = asyncio.Event()

    async def begun(self, *, is_failing: bool = False) -> asyncio.Task[None]:
        """A piece that has its turn."""
        has_turn = asyncio.Event()

        async def work() -> None:
            async with self._turns.turn(is_failing=is_failing):
                has_turn.set()
                await self.ends.wait()

        task = self._tasks.create_task(work())
        async with asyncio.timeout(30):
            await has_turn.wait()
        return task


async def test_moves_that_fail_take_no_turns_from_others() -> None:
    turns = Turns(at_once=2, long_s=3600)
    async with asyncio.TaskGroup() as tasks:
        pieces = Pieces(turns, tasks)
        for is_failing in (True, True, False, False):
            await pieces.begun(is_failing=is_failing)

        pieces.ends.set()


@pytest.mark.parametrize("is_failing", [True, False])
async def test_no_more_are_worked_on_than_there_are_turns(*, is_failing: bool) -> None:
    turns = Turns(at_once=2, long_s=3600)
    async with asyncio.TaskGroup() as tasks:
        pieces = Pieces(turns, tasks)
        for _ in range(2):
            await pieces.begun(is_failing=is_failing)
        late = asyncio.create_task(pieces.begun(is_failing=is_failing))
        # Whoever gets a turn has it after a round of the loop; ten are more than enough.
        for _ in range(10):
            await asyncio.sleep(0)

        assert not late.done()
        pieces.ends.set()
        await late


async def test_a_piece_that_takes_long_gives_its_turn_up_and_so_does_each_after_it() -> None:
    turns = Turns(at_once=2, long_s=0.01)
    async with asyncio.TaskGroup() as tasks:
        pieces = Pieces(turns, tasks)
        for _ in range(4):
            await pieces.begun()

        pieces.ends.set()


async def test_whoever_has_given_a_turn_up_gives_back_the_one_that_it_got() -> None:
    turns = Turns(at_once=1, long_s=0.01)
    for _ in range(3):
        async with asyncio.TaskGroup() as tasks:
            pieces = Pieces(turns, tasks)
            await pieces.begun()
            await pieces.begun()  # the first one has a second turn now
            pieces.ends.set()
    async with asyncio.TaskGroup() as tasks:
        pieces = Pieces(turns, tasks)
        await pieces.begun(is_failing=True)
        await pieces.begun()

        pieces.ends.set()


async def test_what_a_piece_raises_is_raised_as_it_is_and_its_turn_is_free() -> None:
    turns = Turns(at_once=1, long_s=3600)
    with pytest.raises(ValueError, match="no way"):
        async with turns.turn(is_failing=False):
            raise ValueError("no way")

    async with asyncio.timeout(30), turns.turn(is_failing=False):
        pass


async def test_a_piece_that_is_cancelled_frees_its_turn() -> None:
    turns = Turns(at_once=1, long_s=0.01)
    async with asyncio.TaskGroup() as tasks:
        pieces = Pieces(turns, tasks)
        first, second = await pieces.begun(), await pieces.begun()
        for piece in (first, second):
            piece.cancel()
        await asyncio.wait({first, second})

        await pieces.begun()
        await pieces.begun(is_failing=True)
        pieces.ends.set()
