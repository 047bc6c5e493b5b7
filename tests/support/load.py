"""Callers who ask a gateway all the time, and remember how each request went."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.http import Answer, Line, open_line

HANGS_S = 40.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        at_s: When it was sent, on the event loop's clock.
        code: "ok", or of the refusal; "no answer" when there was none, "wrong" when it was not the expected.
    """

    at_s: float
    took_s: float
    code: str


@dataclass(slots=True)
class Load:
    """Some callers, each with a connection of its own that it asks on again and again.

    Attributes:
        requests: What is asked, in turn: a whole request and what its answer must hold.
        every_s: From one request of a caller to its next, unless the answer takes longer.
        asked: Every request that has ended, in the order of their ends.
    """

    url: str
    requests: Sequence[tuple[bytes, bytes]]
    every_s: float
    asked: list[Asked] = field(default_factory=list)

    async def call(self, first: int) -> None:
        """Ask until cancelled."""
        loop, number = asyncio.get_running_loop(), first
        async with AsyncExitStack() as stack:
            line: Line | None = None
            while True:
                request, expected = self.requests[number % len(self.requests)]
                number += 1
                began = loop.time()
                try:
                    if line is None:
                        line = await stack.enter_async_context(open_line(self.url))
                    await line.send(request)
                    answer = await line.answer(within_s=HANGS_S)
                except (OSError, EOFError, TimeoutError):
                    code, line = "no answer", None
                    await stack.aclose()
                else:
                    code = _code(answer, expected)
                    if answer.headers.get("connection") == "close":
                        line = None
                        await stack.aclose()
                now = loop.time()
                self.asked.append(Asked(began, now - began, code))
                await asyncio.sleep(max(0.0, began + self.every_s - now))

    def since(self, at_s: float, until_s: float = float("inf")) -> list[Asked]:
        """The requests that were sent at *at_s* or later, and before *until_s*."""
        return [each for each in self.asked if at_s <= each.at_s < until_s]

    def failed(self, at_s: float = 0.0) -> list[Asked]:
        """Those of them that failed."""
        return [each for each in self.since(at_s) if each.code != "ok"]


def _code(answer: Answer, expected: bytes) -> str:
    if answer.status != 200:
        return answer.headers.get("tiergate-error", str(answer.status))
    return "ok" if expected in answer.body else "wrong"


def codes(asked: Sequence[Asked]) -> dict[str, int]:
    """How often each code came."""
    return dict(Counter(each.code for each in asked))


def longest_s(asked: Sequence[Asked]) -> float:
    """What the slowest took."""
    return max((each.took_s for each in asked), default=0.0)


def quantile_s(asked: Sequence[Asked], share: float) -> float:
    """What *share* of them took at most."""
    times = sorted(each.took_s for each in asked)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


@asynccontextmanager
async def open_load(
    url: str, requests: Sequence[tuple[bytes, bytes]], *, callers: int, every_s: float
) -> AsyncIterator[Load]:
    """*callers* who ask meanwhile."""
    load = Load(url, requests, every_s)
    tasks = [asyncio.create_task(load.call(number), name="caller") for number in range(callers)]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended
