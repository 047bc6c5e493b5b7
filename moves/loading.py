"""A transaction at the target that only the worker who has the move can make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet.access import Connection
from moves.ends import Way
from moves.errors import MoveSuperseded


@asynccontextmanager
async def open_loading(target: Connection, way: Way) -> AsyncIterator[None]:
    """A transaction at the target in which neither triggers nor foreign keys have a say.

    The guard is held until then, so that nobody takes over in between.

    Raises:
        MoveSuperseded: The target is not this attempt's; nothing was changed.
    """
    async with target.transaction():
        await target.execute("SELECT set_config('session_replication_role', 'replica', true)")
        cursor = await target.execute(
            "SELECT FROM tiergate.import_guard"
            " WHERE tenant_id = %s AND place = %s AND attempt = %s FOR UPDATE",
            (way.tenant, way.target.placement.place.id, way.attempt),
        )
        if await cursor.fetchone() is None:
            raise MoveSuperseded(way.move)
        yield
