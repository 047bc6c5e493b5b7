"""Who asks is minded while it waits, and leaves nothing behind."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from router import asgi
from router.asgi import Attention, HungUp


class Silent:
    """A caller that says nothing until it hangs up."""

    def __init__(self) -> None:
        self.is_listened_to = asyncio.Event()
        self.is_gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:  # Any: what ASGI says
        self.is_listened_to.set()
        await self.is_gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hang-up is listened for from the beginning."""
    monkeypatch.setattr(asgi, "_LOOK_AFTER_S", 0)


async def test_work_ends_when_the_caller_hangs_up() -> None:
    caller = Silent()

    async def work() -> None:
        with Attention(caller.receive) as attention:
            attention.await_answer()
            await caller.is_listened_to.wait()
            caller.is_gone.set()
            await asyncio.Event().wait()

    with pytest.raises(HungUp):
        await work()


async def test_a_slow_request_leaves_nothing_that_must_be_looked_for() -> None:
    """Circles are found only by looking through all memory, and every other request waits for that."""
    caller = Silent()

    async def work() -> "weakref.ref[asyncio.Task[None]]":
        with Attention(caller.receive) as attention:
            attention.await_answer()
            await caller.is_listened_to.wait()
            return next(
                weakref.ref(task) for task in asyncio.all_tasks() if task.get_name() == "wait for a hang-up"
            )

    gc.disable()
    try:
        listening = await asyncio.create_task(work(), name="a request")
        for _ in range(3):  # it is cancelled in one pass of the event loop, and forgotten in the next
            await asyncio.sleep(0)

        assert listening() is None
    finally:
        gc.enable()
