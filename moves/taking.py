"""Takes a move over from whoever had it before, each time before it is worked on.

First the fence that serves the tenant gets our attempt: no earlier worker leaves it any more. Then the guard
of the other end does: none brings anything there any more. Then what a cut-over has opened that did not come
to its end is closed again. In this order: the other way round, one that was thought dead could send the
tenant to what has just been closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

from fleet.cluster import lay_data_plane
from fleet.errors import FenceConflict, ProvisioningTimeout
from moves import guard
from moves.ends import Way
from moves.fencing import Fence, close_target, hold_stamp, left_at, stamp
from moves.ground import Ground, open_ends
from moves.steps import Reached, Step
from moves.tables import read_tables
from registry.moves import Move, MoveState
from tiergate.deadline import Deadline


class Guarding(Enum):
    """How the guard of the other end comes to bear our attempt: it is made, or must be there."""

    PUT = auto()
    TAKEN = auto()


class TenantLeft(FenceConflict):
    """The tenant has left the source: an earlier attempt at the cut-over has come to its end."""

    def __init__(self, way: Way, epoch: int) -> None:
        here, there = (end.placement.place.id for end in (way.source, way.target))
        super().__init__(way.tenant, f"of place {here}", f"that of place {there}, since epoch {epoch}")
        self.epoch = epoch


@asynccontextmanager
async def take(
    way: Way, move: Move, guarding: Guarding, reached: Reached, deadline: Deadline
) -> AsyncIterator[tuple[Ground, Fence]]:
    """Both ends, to be changed by nobody else; and the fence that serves the tenant, at the way's source.

    Raises:
        TenantLeft: It is the target that serves it.
        MoveSuperseded: Another worker has the move, or the guard is gone.
        FenceConflict: Neither end serves the tenant.
        ClusterUnreachable, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    step = f"move tenant {way.tenant}"
    # Only then may a commit be under way that we have not heard of.
    is_certain = move.state in {MoveState.CUTTING_OVER, MoveState.RETURNING}
    try:
        async with asyncio.timeout_at(deadline.at_s), open_ends(way, step, deadline) as (source, target):
            if move.state is MoveState.PREPARING:
                # Then alone: gateways of two versions must not lay theirs over each other's for ever.
                for end in (source, target):
                    await lay_data_plane(end)
                await reached(way.move, Step.DATA_PLANE_LAID)
            serving = await stamp(source, way, is_certain=is_certain)
            if serving is None:
                raise TenantLeft(way, await left_at(source, way) or 0)
            await reached(way.move, Step.SERVING_STAMPED)
            if guarding is Guarding.PUT:
                async with source.transaction():
                    await hold_stamp(source, way)
                    await guard.put(target, way)
            else:
                await guard.take(target, way)
            await reached(way.move, Step.GUARD_PUT)
            if await close_target(target, way, serving, move.target_epoch or 0):
                await reached(way.move, Step.LEFTOVER_CLOSED)
            tables = await read_tables(source, way.source.placement.place.schema)
            yield Ground(way, source, target, tables, reached), serving
    except TimeoutError as exc:
        raise ProvisioningTimeout(way.target.access.name, step) from exc
