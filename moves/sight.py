"""The two ends of a move that may be: one where the tenant is, one where there may be nothing yet."""

import time
from dataclasses import dataclass
from types import SimpleNamespace

from fleet.access import ClusterAccess, Connection
from fleet.identifier import quote_identifier
from moves.looks import SERVER
from registry.placement import Place
from tiergate.tenant import Tier


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a tenant is to live.

    Attributes:
        place: None as long as it is not made: a schema or a database of its own.
        tenants: How many live on that cluster already.
        budget: Connections that one gateway process may have to it.
    """

    access: ClusterAccess
    tier: Tier
    place: Place | None
    tenants: int = 0
    budget: int | None = None

    @property
    def database(self) -> str:
        """What can be entered now."""
        return self.access.database if self.place is None else self.place.database


@dataclass(frozen=True, slots=True)
class Seen:
    """A connection to one end, and what its server says of itself."""

    connection: Connection
    where: str
    server: SimpleNamespace
    trip_s: float


async def see(connection: Connection, access: ClusterAccess, schema: str, database: str) -> Seen:
    """Ask the server at one end what it is.

    Args:
        schema: Whose tables and indexes are counted.
        database: Whose locale counts.
    """
    names = (
        "system", "database", "provider", "collate", "ctype", "collversion",
        "locks", "connections", "relations",
    )  # fmt: skip
    cursor = await connection.execute(SERVER, {"schema": quote_identifier(schema), "database": database})
    row = await cursor.fetchone() or ()
    began = time.monotonic()
    await connection.execute("SELECT")
    trip_s = time.monotonic() - began
    where = f"{access.name}: {connection.info.dbname}"
    return Seen(connection, where, SimpleNamespace(**dict(zip(names, row, strict=True))), trip_s)
