"""Two databases with a tenant between them, for tests of what moves do to its fence."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import TupleRow

from moves.ends import End, Way, open_end
from registry.moves import MoveId
from tests.support.places import Places, open_places
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Between:
    """Two databases that serve as clusters; they may be of one server, as they may in life."""

    here: Places
    there: Places

    async def way(self, source: Tier = Tier.STANDARD, target: Tier = Tier.PREMIUM) -> Way:
        """A new tenant, and an empty place on the other side that lets nobody in."""
        placement = await self.here.create(source)
        there = self.there.placement(placement.tenant, target)
        await self.there.provisioner.make_place(self.there.access, there, Deadline.after(60))
        return Way(
            MoveId(str(uuid.uuid4())),
            placement.tenant,
            str(uuid.uuid4()),
            End(self.here.access, placement),
            End(self.there.access, there),
        )


def another(way: Way) -> Way:
    """The same move in the hands of another worker."""
    return replace(way, attempt=str(uuid.uuid4()))


@asynccontextmanager
async def open_between(server: Cluster) -> AsyncIterator[Between]:
    """Two prepared databases."""
    async with open_places(server) as here, open_places(server, name="other") as there:
        yield Between(here, there)


@asynccontextmanager
async def opened(end: End, session: str = "a test") -> AsyncIterator[Connection]:
    """A mover's connection to one end."""
    async with open_end(end, Deadline.after(60), session) as connection:
        yield connection
