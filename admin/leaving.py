"""Work that ends when its caller goes away."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from tiergate.errors import TiergateError

T = TypeVar("T")


async def unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """What *work* gives; None when the caller went away first, and *work* is cancelled."""
    failed: list[TiergateError] = []

    async def guarded() -> T | None:
        try:
            return await work
        except TiergateError as error:  # would come out of the group wrapped
            failed.append(error)
            return None

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(guarded(), name="statement of an operator")
        watching = tasks.create_task(gone(request.receive), name="watch the operator")
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        (watching if working.done() else working).cancel()
    if failed:
        raise failed[0]
    return None if working.cancelled() else working.result()


async def gone(receive: Receive) -> None:
    """Wait until the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
