"""A transaction at the target that only the worker who has the move can make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet.access import Connection
from moves import guard
from moves.ends import Way


@asynccontextmanager
async def open_loading(target: Connection, way: Way) -> AsyncIterator[None]:
    """A transaction at the target in which neither triggers nor foreign keys have a say.

    The guard is held until its end, so that nobody takes over in between.

    Raises:
        MoveSuperseded: The target is not this attempt's, or serves the tenant; nothing was changed.
    """
    async with target.transaction():
        await target.execute("SELECT set_config('session_replication_role', 'replica', true)")
        await guard.hold(target, way)
        yield
