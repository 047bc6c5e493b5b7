"""What a streamed answer tells of itself: how much went out, and for how long its reader held it up."""

import asyncio
import time
from collections.abc import Iterable

import pytest

from pools.result import Field
from router.asgi import Send
from router.errors import ReaderTooSlow
from router.lines import Lines

COLUMN = (Field("n", 0, 0, 25, -1, -1),)


class Reader:
    """Takes what is sent, when it is let.

    Attributes:
        body: What it has taken.
    """

    def __init__(self) -> None:
        self.body = b""
        self.asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.may_go_on.set()

    async def take(self, message: dict[str, object]) -> None:
        self.asked.set()
        await self.may_go_on.wait()
        part = message.get("body", b"")
        assert isinstance(part, bytes)
        self.body += part


def lines(send: Send, *, stall_s: float = 10) -> Lines:
    def head() -> Iterable[tuple[bytes, bytes]]:
        return []

    made = Lines(send, head, stall_s)
    made.expect([True], raw=True)
    made.begin()
    made.fields(COLUMN)
    return made


async def test_rows_and_bytes_are_those_that_went_out() -> None:
    reader = Reader()
    told = lines(reader.take)  # type: ignore[arg-type]  # a message is a dictionary here
    told.rows([("1",), ("2",)])
    told.begin()  # the transaction is tried again
    told.fields(COLUMN)
    told.rows([("3",)])
    told.end("SELECT 1")
    assert told.sent_bytes == 0
    await told.finish()

    assert (told.row_count, told.sent_bytes) == (1, len(reader.body))


async def test_the_time_is_told_for_which_a_reader_held_the_transaction_up() -> None:
    reader = Reader()
    told = lines(reader.take)  # type: ignore[arg-type]  # as above
    told.rows([("x" * 70_000,)])
    reader.may_go_on.clear()
    began = time.monotonic()
    flowing = asyncio.create_task(told.flow())
    await reader.asked.wait()
    asyncio.get_running_loop().call_later(0.05, reader.may_go_on.set)
    await flowing

    assert 0.04 < told.stalled_s <= time.monotonic() - began
    held = told.stalled_s
    await told.finish()
    assert told.stalled_s == held


async def test_the_time_counts_also_when_the_reader_never_took_it() -> None:
    reader = Reader()
    told = lines(reader.take, stall_s=0.05)  # type: ignore[arg-type]  # as above
    told.rows([("x" * 70_000,)])
    reader.may_go_on.clear()
    with pytest.raises(ReaderTooSlow):
        await told.flow()

    assert (told.stalled_s >= 0.05, told.sent_bytes) == (True, 0)
