"""What a transaction does before anything is sent."""

import asyncio

import pytest

from pools.errors import DeadlineExceeded
from pools.lease import Transaction, _fence
from pools.statement import Reach, Renaming, Statement
from tiergate.deadline import Deadline

OURS = Renaming(frozenset({"public"}), "pl_1")
BATCH = Transaction([Statement(f"SELECT public.a{', a' * 1000} AS a{number}") for number in range(40)])


async def test_a_long_batch_is_fenced_while_others_have_their_turn() -> None:
    """A thousand texts of 4,000 characters held the event loop up for 9 s, on two busy cores."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        taking_turns = tasks.create_task(others(), name="others")
        fenced = await _fence(BATCH, OURS, Reach.QUERIES, Deadline.after(30))
        taking_turns.cancel()

    assert turns > len(BATCH.statements) / 3
    assert [text.sql.endswith(f"AS a{at}".encode()) for at, text in enumerate(fenced)] == [True] * 40
    assert all(b'SELECT "pl_1".a' in text.sql for text in fenced)


async def test_a_long_batch_is_given_up_at_its_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        await _fence(BATCH, OURS, Reach.QUERIES, Deadline.after(0))
