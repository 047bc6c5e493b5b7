"""What goes on beside requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(loops: Mapping[str, Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Meanwhile *loops* run, each as a task of its name."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(loop, name=name) for name, loop in loops.items()]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
