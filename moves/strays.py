"""What a tenant has made by itself: no move brings it over, and none may destroy it.

It is looked for again when a tenant leaves, under its lock, since a move may wait for days; and once more
before the place that it has left is removed.
"""

from fleet.access import Connection
from moves.looks import LOOKS, facts_of
from registry.placement import Placement

_CODES = frozenset({"own-objects", "other-objects", "large-objects"})
_MOST = 10


async def find_strays(connection: Connection, placement: Placement) -> tuple[str, ...]:
    """The first of them in the place connected to, in words; in one round trip, some milliseconds."""
    looks = [look.query for look in LOOKS if look.code in _CODES and placement.tier in look.tiers]
    if not looks:
        return ()
    either = " UNION ALL ".join(f"({query})" for query in looks)
    cursor = await connection.execute(f"{either} LIMIT {_MOST}".encode(), facts_of(placement))
    return tuple(what for (what,) in await cursor.fetchall())
