"""A dial that failed lets go of every host that it has tried, and of none too soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from pools.errors import DatabaseUnavailable
from pools.opening import Opening
from pools.upkeep import Upkeep
from registry.placement import Place, PlaceId
from tests.support.places import POOL
from tiergate.tenant import Tier


@dataclass
class Silent:
    """A host that takes a connection, and says nothing."""

    port: int = 0
    heard_end: asyncio.Event = field(default_factory=asyncio.Event)
    may_close: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        self.heard_end.set()
        await self.may_close.wait()
        writer.close()


@asynccontextmanager
async def open_silent() -> AsyncIterator[Silent]:
    silent = Silent()
    async with await asyncio.start_server(silent.take, "127.0.0.1", 0) as server:
        silent.port = server.sockets[0].getsockname()[1]
        yield silent


async def test_a_failed_dial_has_ended_only_when_every_host_has_closed() -> None:
    """The permit came back when the last one had, and the first could fill up with what it had not seen."""
    async with open_silent() as first, open_silent() as second:
        conninfo = f"host=127.0.0.1,127.0.0.1 port={first.port},{second.port} sslmode=disable"
        place = Place(PlaceId("pl_1"), Tier.PREMIUM, "main", conninfo, "db", "app", "login", "", b"", 1)
        limits = replace(POOL, server_connect_timeout=0.3)
        opening = Opening(place, limits, cast("Upkeep", None))  # it does not come to that
        with pytest.raises(DatabaseUnavailable):
            await opening.run()
        undoing = asyncio.create_task(opening.undo())
        await asyncio.gather(first.heard_end.wait(), second.heard_end.wait())
        second.may_close.set()
        too_soon, _ = await asyncio.wait({undoing}, timeout=0.3)
        first.may_close.set()
        async with asyncio.timeout(5):
            await undoing

    assert not too_soon
