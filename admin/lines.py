"""Answers that come line by line, as the work goes on: JSON, one object a line."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from admin.leaving import gone
from admin.problems import explained
from tiergate.errors import TiergateError

Put: TypeAlias = Callable[[Mapping[str, object]], None]
"""Takes the next line."""


class LinesAnswer(Response):
    """Does *work* and sends what it puts; cancels it when the caller goes away.

    What fails before the first line is an answer with its status; what fails later is the last line.
    """

    def __init__(self, work: Callable[[Put], Awaitable[None]]) -> None:
        super().__init__(headers={"cache-control": "no-store"}, media_type="application/x-ndjson")
        del self.headers["content-length"]
        self._work = work

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            TiergateError: The work failed before it had put a line.
        """
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        failed: list[TiergateError] = []
        has_begun = False

        async def work() -> None:
            try:
                await self._work(lambda line: lines.put_nowait(orjson.dumps(line) + b"\n"))
            except TiergateError as error:
                failed.append(error)
            finally:
                lines.put_nowait(None)

        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(work(), name="work behind lines")
            watching = tasks.create_task(_end_with_caller(receive, working), name="watch the caller")
            while (line := await lines.get()) is not None:
                if not has_begun:
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                    has_begun = True
                await send({"type": "http.response.body", "body": line, "more_body": True})
            watching.cancel()
        if failed and not has_begun:
            raise failed[0]
        if not working.cancelled():
            last = [orjson.dumps({"event": "error", "error": explained(error)}) + b"\n" for error in failed]
            await send({"type": "http.response.body", "body": b"".join(last)})


async def _end_with_caller(receive: Receive, working: asyncio.Task[None]) -> None:
    await gone(receive)
    working.cancel()
