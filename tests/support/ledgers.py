"""Clients who write numbered entries all the time and remember what was acknowledged; and who judges them.

A write is one transaction: a new entry, one more on the client's account, and now and then an old entry taken
away. So whatever a move does to a tenant's rows shows: an entry that is gone, one that is there twice, one
that came back, one that was refused and is there all the same, and an account that another number of writes
has made. Each entry tells the database that it was written in.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tests.support.http import Line, request
from tests.support.load import Asked
from tests.support.waiting import wait_until

APPLICATION = Path(__file__).parent / "ledger"
ISOLATIONS = (None, "RepeatableRead", None, "Serializable")
HANGS_S = 60.0
_STILL_S = 60.0
_TAKES_ONE_AWAY, _READS = 3, 4
_INSERT = "INSERT INTO entries (client, number, body) VALUES ($1, $2, $3)"
_COUNT = "UPDATE accounts SET count = count + 1 WHERE client = $1 RETURNING count"
_REMOVE = "DELETE FROM entries WHERE client = $1 AND number = $2"
_READ = "SELECT count(*) AS entries FROM entries WHERE client = $1"
_OPEN = "INSERT INTO accounts (client) VALUES ($1)"

Query: TypeAlias = tuple[str, list[object]]
Results: TypeAlias = list[dict[str, Any]]  # JSON

# Whoever hears one of these does not know whether its write took effect (docs/reference/errors.md).
UNKNOWN = frozenset({"no answer", "connection-lost", "killed", "deadline-exceeded"})


@dataclass(slots=True)
class Book:
    """What one client remembers.

    Attributes:
        acknowledged: Numbers of the entries that the gateway said it had written.
        removed: Those of them that it has said it had taken away again.
        unknown: Numbers whose outcome nobody told, with the entry that would have been taken away.
        refused: Numbers of which the gateway said that nothing was done.
        wrong_reads: Reads that did not show what had been acknowledged before.
    """

    acknowledged: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    unknown: dict[int, int | None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    wrong_reads: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> set[int]:
        """Every number that was used."""
        return self.acknowledged | set(self.unknown) | self.refused

    def oldest(self) -> int | None:
        """An entry that is there for certain."""
        doubtful = {removes for removes in self.unknown.values() if removes is not None}
        return min(self.acknowledged - self.removed - doubtful, default=None)

    def take(self, number: int, removes: int | None, code: str) -> None:
        """Remember how the write of *number* went."""
        if code == "ok":
            self.acknowledged.add(number)
            if removes is not None:
                self.removed.add(removes)
        elif code in UNKNOWN:
            self.unknown[number] = removes
        else:
            self.refused.add(number)


@dataclass(slots=True)
class Ledger:
    """Clients of one tenant, who ask several gateways in turn.

    Attributes:
        urls: The gateways.
        every_s: From one request of a client to its next, unless the answer takes longer.
        asked: Every request that has ended.
        said: What refusals said, by their codes; the first of each.
    """

    urls: Sequence[str]
    key: str
    every_s: float
    books: dict[int, Book]
    asked: list[Asked] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    goes: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Meanwhile no client asks, and none waits for an answer."""
        self.goes.clear()
        try:
            await wait_until(lambda: not self.under_way, within_s=_STILL_S, what="the last answer")
            yield
        finally:
            self.goes.set()

    def during(self, from_s: float, until_s: float) -> list[Asked]:
        """The requests that were under way at any moment from *from_s* to *until_s*."""
        return [each for each in self.asked if each.at_s <= until_s and each.at_s + each.took_s >= from_s]

    def failed(self) -> list[Asked]:
        """The requests that were not answered as they should be."""
        return [each for each in self.asked if each.code != "ok"]


@dataclass(slots=True)
class _Client:
    """One client, with a connection to each gateway."""

    ledger: Ledger
    name: int
    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def book(self) -> Book:
        return self.ledger.books[self.name]

    async def call(self) -> None:
        """Write and read until cancelled."""
        loop, ledger = asyncio.get_running_loop(), self.ledger
        try:
            for number in count(1):
                await ledger.goes.wait()
                began = loop.time()
                ledger.under_way += 1
                try:
                    url = ledger.urls[number % len(ledger.urls)]
                    code = await (self.read(url) if number % _READS == 0 else self.write(url, number))
                finally:
                    ledger.under_way -= 1
                now = loop.time()
                ledger.asked.append(Asked(began, now - began, code))
                await asyncio.sleep(max(0.0, began + ledger.every_s - now))
        finally:
            for line in self.lines.values():
                line.hang_up()

    async def write(self, url: str, number: int) -> str:
        removes = self.book.oldest() if number % _TAKES_ONE_AWAY == 0 else None
        body = f"entry {number} of client {self.name} " + "x" * (number % 200)
        steps: list[Query] = [(_INSERT, [self.name, number, body]), (_COUNT, [self.name])]
        if removes is not None:
            steps.append((_REMOVE, [self.name, removes]))
        # Until its answer is here nobody knows how it went, also when this client is ended meanwhile.
        self.book.unknown[number] = removes
        code, _ = await self.ask(url, steps, ISOLATIONS[number // _READS % len(ISOLATIONS)])
        del self.book.unknown[number]
        self.book.take(number, removes, code)
        return code

    async def read(self, url: str) -> str:
        book = self.book
        expected = len(book.acknowledged - book.removed)
        code, results = await self.ask(url, [(_READ, [self.name])], None)
        if code == "ok" and not book.unknown:
            seen = results[0]["rows"][0]["entries"]
            if int(seen) != expected:
                book.wrong_reads.append(f"client {self.name} saw {seen} of {expected}")
        return code

    async def ask(self, url: str, steps: Sequence[Query], isolation: str | None) -> tuple[str, Results]:
        """How a batch went, and what it gave."""
        body = json.dumps({"queries": [{"query": text, "params": params} for text, params in steps]}).encode()
        headers = [] if isolation is None else [f"Neon-Batch-Isolation-Level: {isolation}"]
        try:
            line = self.lines.get(url) or await self.dial(url)
            await line.send(request(self.ledger.key, body, *headers))
            answer = await line.answer(within_s=HANGS_S)
        except (OSError, EOFError, TimeoutError):
            self.hang_up(url)
            return "no answer", []
        if answer.headers.get("connection") == "close":
            self.hang_up(url)
        if answer.status == 200:
            return "ok", answer.json()["results"]
        code = answer.headers.get("tiergate-error", str(answer.status))
        self.ledger.said.setdefault(code, answer.body.decode(errors="replace")[:400])
        return code, []

    async def dial(self, url: str) -> Line:
        at = urlsplit(url)
        self.lines[url] = Line(*await asyncio.open_connection(at.hostname, at.port))
        return self.lines[url]

    def hang_up(self, url: str) -> None:
        if (line := self.lines.pop(url, None)) is not None:
            line.hang_up()


@asynccontextmanager
async def open_ledger(
    urls: Sequence[str], key: str, *, clients: int, every_s: float = 0.02
) -> AsyncIterator[Ledger]:
    """*clients* who write meanwhile, each with an account of its own."""
    ledger = Ledger(urls, key, every_s, {name: Book() for name in range(clients)})
    callers = [_Client(ledger, name) for name in ledger.books]
    for caller in callers:
        code, _ = await caller.ask(urls[0], [(_OPEN, [caller.name])], None)
        assert code == "ok", ledger.said
    tasks = [asyncio.create_task(caller.call(), name=f"client {caller.name}") for caller in callers]
    ledger.goes.set()
    try:
        yield ledger
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
