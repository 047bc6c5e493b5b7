"""What all pieces of a move have in common: its ends, its states, and what becomes of errors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psycopg

from fleet.access import access_of
from moves import stages
from moves.ends import End, Way
from moves.ground import Ground
from moves.states import Reaction, after, put_offs, rest_s
from moves.steps import Reached, Step, nowhere
from moves.taking import Guarding, take
from registry.errors import MoveLost
from registry.moves import Move, MoveId, MoveState
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.events import Emit
from tiergate.happenings.moves import MoveFailed, MoveStepped


class Acting:
    """A worker's hands: the registry, and the two ends of a move."""

    def __init__(self, store: Store, *, emit: Emit, reached: Reached = nowhere) -> None:
        self._store = store
        self._emit = emit
        self._reached = reached
        self._failures: dict[MoveId, int] = {}

    def rest_s(self, before: MoveState, now: Move) -> float:
        """How long to leave the move alone, which was in state *before*, until the next piece."""
        return rest_s(before, now, self._failures.get(now.id, 0))

    def is_failing(self, move: Move) -> bool:
        """Whether the last piece of *move* has failed."""
        return move.id in self._failures

    async def _publish(self, move: Move, epoch: int) -> Move:
        await self._store.publish_move(move.id, epoch)
        return await self._published(move)

    async def _published(self, move: Move) -> Move:
        await self._reached(move.id, Step.PUBLISHED)
        now = await self._store.move(move.id)
        self._emit(MoveStepped(move.id, move.tenant, now.state))
        return replace(now, progress=move.progress)

    @asynccontextmanager
    async def _taken(
        self, way: Way, move: Move, deadline: Deadline, guarding: Guarding = Guarding.TAKEN
    ) -> AsyncIterator[Ground]:
        """Both ends, taken over; see `moves.taking.take`."""
        async with take(way, move, guarding, self._reached, deadline) as (ground, _):
            try:
                yield ground
            finally:
                if guarding is Guarding.PUT:
                    await self._tidy(ground, move)

    async def _tidy(self, ground: Ground, move: Move) -> None:
        """Remove what we have made after the move was over, if we stood still for so long."""
        with suppress(TiergateError, psycopg.Error):
            if (await self._store.move(move.id)).state.is_over:
                await stages.take_back(ground)

    async def _way(self, move: Move) -> Way:
        """From the source to the target.

        Raises:
            UnknownMove: One of the two is forgotten already.
            MoveLost: Nobody has the move.
        """
        if move.attempt is None:
            raise MoveLost(move.id)
        source, target = await self._store.ends(move)
        homes = [access_of(await self._store.cluster(each.place.cluster)) for each in (source, target)]
        return Way(move.id, move.tenant, move.attempt, End(homes[0], source), End(homes[1], target))

    async def _advance(
        self,
        move: Move,
        to: MoveState,
        *,
        error: str | None = None,
        clears_wanted: bool = False,
        more: Mapping[str, object] | None = None,
    ) -> Move:
        detail = ({"progress": dict(move.progress)} if move.progress else {}) | dict(more or {})
        now = await self._store.advance_move(
            move, to, detail=detail, error=error, clears_wanted=clears_wanted
        )
        await self._reached(move.id, Step.STATE_ADVANCED)
        if to is not move.state:
            self._emit(MoveStepped(move.id, move.tenant, to))
        return replace(now, progress=move.progress)

    async def _meet(self, error: TiergateError, move: Move) -> Move:
        """What becomes of a move that met an error; it is tried again, or goes another way."""
        reaction, why = after(error, move), str(error)
        if reaction is Reaction.LOST:
            raise error
        self._emit(MoveFailed(move.id, move.tenant, move.state, error.code, why, error.retryable))
        self._failures[move.id] = self._failures.get(move.id, 0) + 1
        to, now = move.state, move
        match reaction:
            case Reaction.PREPARE:
                to = MoveState.PREPARING
            case Reaction.ABORT:
                to = MoveState.ABORTING
            case Reaction.SOAK:
                to = MoveState.SOAKING
            case Reaction.PUT_OFF:
                to = MoveState.READY
                now = replace(move, progress={**move.progress, "put_off": put_offs(move) + 1})
            case _ if why == move.error:
                return move
            case _:
                pass
        try:
            return await self._advance(now, to, error=why, clears_wanted=to is MoveState.SOAKING)
        except MoveLost:
            raise
        except TiergateError:  # the registry: what could not be written down is met again
            return move
