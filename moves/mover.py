"""Brings a move from one state to the next, a piece at a time.

Whoever has claimed a move may ask for a piece, wherever another worker was killed: each begins by taking the
ends over (`moves.taking`), and reads there what is so.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from functools import partial

import psycopg

from fleet.errors import ClusterUnreachable
from fleet.provision import Provisioner
from moves import capture, cleaning, cutover, following, recording, stages
from moves.acting import Acting
from moves.ends import Way
from moves.fencing import Fence
from moves.ground import Ground
from moves.states import FEW_KEYS, asked, count_of, end_of
from moves.steps import Reached, Step, nowhere
from moves.taking import Guarding, TenantLeft
from registry.errors import MoveLost, UnknownMove
from registry.moves import Move, MoveId, MoveState, Wanted
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.events import Emit
from tiergate.happenings.moves import MoveCopied, MoveCutOver

PIECE_S = 2.0
"""A piece that could go on for long ends about then."""
BOUND_S = 120.0
"""No piece takes longer."""
HOLD_S = 1.0
"""For how long gateways let a tenant's requests wait for a cut-over: less than any query_wait_timeout, so
that nobody is refused where a hold is not ended. Who comes later waits at the fence's lock, and is served."""
MOST_PASSES = 20
"""In a row. A tenant that changes rows faster than they are brought over is verified none the less; its
cut-over is put off while the log is long, again and again, and the move's error says so."""
_OUTWRITTEN = "it changes rows faster than they are brought over: let it do less, or wait until it does"


class Mover(Acting):
    """Does what is next in a move.

    Args:
        emit: Is told what happens.
        reached: Is told of each step; see `moves.steps`.
        piece_s: About how long a piece takes that could go on for long.
    """

    def __init__(
        self,
        store: Store,
        provisioner: Provisioner,
        *,
        emit: Emit,
        reached: Reached = nowhere,
        piece_s: float = PIECE_S,
    ) -> None:
        super().__init__(store, emit=emit, reached=reached)
        self._provisioner = provisioner
        self._piece_s = piece_s
        self._pacings: dict[MoveId, stages.Pacing] = {}
        self._pieces: dict[MoveState, Callable[[Move], Awaitable[Move]]] = {
            MoveState.PREPARING: self._prepare,
            MoveState.COPYING: self._bring,
            MoveState.CATCHING_UP: self._bring,
            MoveState.VERIFYING: self._bring,
            MoveState.READY: self._bring,
            MoveState.CUTTING_OVER: self._cut_over,
            MoveState.SOAKING: self._soak,
            MoveState.RETURNING: self._cut_over,
            MoveState.CLEANING: self._clear,
            MoveState.ABORTING: self._clear,
        }

    async def run_once(self, move: Move) -> Move:
        """Do one piece of a move that was claimed; the move as it is then.

        Raises:
            MoveLost: It is another worker's.
        """
        try:
            went = await self._do(move)
        except TiergateError as error:
            return await self._meet(error, move)
        self._failures.pop(move.id, None)
        return went

    async def _do(self, move: Move) -> Move:
        wanted = asked(move)
        if wanted is MoveState.ABORTING and move.state is MoveState.CUTTING_OVER:
            return await self._give_up(move)
        if (
            wanted is not None
            and wanted is not MoveState.CUTTING_OVER
            and move.state is not MoveState.SOAKING
        ):
            return await self._advance(move, wanted, clears_wanted=wanted is not MoveState.PREPARING)
        does = self._pieces.get(move.state)
        return move if does is None else await does(move)

    async def _prepare(self, move: Move) -> Move:
        way, deadline = await self._way(move), Deadline.after(BOUND_S)
        await self._provisioner.make_place(
            way.target.access, way.target.placement, deadline, allowed=partial(self._refuse_lost, move)
        )
        await self._reached(move.id, Step.PLACE_MADE)
        async with self._taken(way, move, deadline, Guarding.PUT) as ground:
            await stages.refuse_unlike(ground)
            await stages.begin_capture(ground)
        return await self._advance(move, MoveState.COPYING)

    async def _refuse_lost(self, move: Move) -> None:
        """See that we have the move yet, and it is in the same state, for what no fence keeps from us."""
        now = await self._store.move(move.id)
        if (now.attempt, now.state) != (move.attempt, move.state):
            raise MoveLost(move.id)

    async def _bring(self, move: Move) -> Move:
        """Copy, catch up, verify, or wait: all of it brings rows to the target while the source serves."""
        to, why, told, rows = None, None, dict(move.progress), 0
        piece = Deadline.after(self._piece_s)
        async with self._taken(await self._way(move), move, Deadline.after(BOUND_S)) as ground:
            match move.state:
                case MoveState.COPYING:
                    async with stages.open_probe(ground, BOUND_S) as probe:
                        count = await stages.copy(ground, self._pacing(move), probe, piece)
                    rows = count.rows - stages.Count.of(told.get("copied")).rows
                    told["copied"] = count.told()
                    to = MoveState.CATCHING_UP if count.is_done else None
                case MoveState.CATCHING_UP:
                    brought = await following.run_pass(ground)
                    told["changed"] = rows = brought.keys
                    told["passes"] = passes = count_of(told, "passes") + 1
                    if brought.is_whole and (brought.keys <= FEW_KEYS or passes >= MOST_PASSES):
                        await stages.analyze(ground)
                        to = MoveState.VERIFYING
                    elif passes >= MOST_PASSES:
                        why = _OUTWRITTEN
                case MoveState.VERIFYING:
                    verified = stages.Count.of(told.get("verified"))
                    async with stages.open_probe(ground, BOUND_S) as probe:
                        count = await stages.verify(ground, verified, self._pacing(move), probe, piece)
                    told["verified"] = count.told()
                    if count.is_done:
                        told["proofs"] = [asdict(proof) for proof in await following.prove(ground)]
                        to = MoveState.READY
                case _:
                    if "proofs" not in told:  # it was killed between finding them and writing them down
                        told["proofs"] = [asdict(proof) for proof in await following.prove(ground)]
                    told["changed"] = rows = (await following.follow(ground)).keys
                    to = asked(move)
        if rows > 0:
            self._emit(MoveCopied(move.id, move.tenant, rows))
        now = replace(move, progress=told)
        if to is None and why in {None, move.error}:
            return now
        return await self._advance(now, to or move.state, error=why)

    def _pacing(self, move: Move) -> stages.Pacing:
        return self._pacings.setdefault(move.id, stages.Pacing())

    async def _cut_over(self, move: Move) -> Move:
        """One attempt, there or back; also finds out how an earlier one came out."""
        way, deadline = await self._way(move), Deadline.after(BOUND_S)
        guarding = Guarding.TAKEN
        if move.state is MoveState.RETURNING:
            way, guarding = way.back, Guarding.PUT
        try:
            async with self._taken(way, move, deadline, guarding) as ground:
                await self._come_close(ground)
                return await self._try(move, ground)
        except TenantLeft as left:
            return await self._publish(move, left.epoch)

    async def _give_up(self, move: Move) -> Move:
        """Abort after an attempt, unless it has come to its end; the target need not answer."""
        way = await self._way(move)
        if (epoch := await cleaning.look(way, self._reached, Deadline.after(BOUND_S))) is not None:
            return await self._publish(move, epoch)
        return await self._advance(move, MoveState.ABORTING, clears_wanted=True)

    async def _come_close(self, ground: Ground) -> None:
        await stages.refuse_unlike(ground)
        await cutover.refuse_strays(ground)
        await cutover.refuse_busy(ground)
        for _ in range(MOST_PASSES):
            if (await following.run_pass(ground, compares=True)).keys <= FEW_KEYS:
                return

    async def _try(self, move: Move, ground: Ground) -> Move:
        await cutover.draw_near(ground)
        began_s = time.monotonic()
        try:
            held = await self._store.begin_cutover(move, hold_s=HOLD_S)
        except TiergateError:
            await cutover.give_up(ground)
            raise
        try:
            if held.target_epoch is None:
                raise MoveLost(move.id)
            await self._reached(move.id, Step.HOLD_BEGUN)
            cut = await cutover.cut_over(ground, held.target_epoch)
        except (TiergateError, psycopg.Error):
            await self._store.end_hold(held)
            await self._reached(move.id, Step.HOLD_ENDED)
            raise
        await self._store.publish_move(held.id, cut.epoch)
        pause_s = time.monotonic() - began_s
        now = await self._published(held)
        there = ground.way.target.placement.tier
        self._emit(MoveCutOver(move.id, move.tenant, there, pause_s, cut.locked_s, cut.keys))
        told = {
            "pause_ms": round(1000 * pause_s), "locked_ms": round(1000 * cut.locked_s), "keys": cut.keys,
        }  # fmt: skip
        return replace(now, progress={**move.progress, "cut": told})

    async def _soak(self, move: Move) -> Move:
        """Keep the old place equal to the new one, so that the tenant can return at any time."""
        if asked(move) is MoveState.CLEANING and _has_soaked(move):
            # Nobody returns any more, so no pass is needed, nor the old place's server for one.
            return await self._leave_soak(move, MoveState.CLEANING)
        try:
            return await self._bring_back(move)
        except ClusterUnreachable:
            if move.wanted is not Wanted.GIVE_UP:
                raise
        return await self._leave_soak(move, MoveState.CLEANING)

    async def _bring_back(self, move: Move) -> Move:
        way = (await self._way(move)).back
        told = dict(move.progress)
        async with self._taken(way, move, Deadline.after(BOUND_S), Guarding.PUT) as ground:
            if not told.get("is_left"):
                await capture.remove(ground.target, move.id, ground.target_schema)
                await self._reached(move.id, Step.CAPTURE_REMOVED)
                told["is_left"] = True
            if move.evidence is None:
                await self._store.record_evidence(move, await recording.of(move, ground))
                await self._reached(move.id, Step.EVIDENCE_RECORDED)
            told["changed"] = (await following.follow(ground)).keys
        # Only now: whoever cleans up must find the guard that was made here.
        now, wanted = replace(move, progress=told), asked(move)
        return now if wanted is None else await self._leave_soak(now, wanted)

    async def _leave_soak(self, move: Move, to: MoveState) -> Move:
        return await self._advance(move, to, clears_wanted=move.wanted is not Wanted.GIVE_UP)

    async def _clear(self, move: Move) -> Move:
        deadline = Deadline.after(BOUND_S)
        try:
            way = await self._way(move)
        except UnknownMove:  # the place is forgotten: this was the last step but one
            return await self._advance(move, end_of(move), error=move.error)
        if move.state is MoveState.CLEANING:
            way = way.back
        serving = await cleaning.begin(way, self._reached, deadline)
        given_up = None
        try:
            if not await self._clear_left(move, way, serving, deadline):
                return move
        except ClusterUnreachable as gone:
            if move.wanted is not Wanted.GIVE_UP:
                raise
            given_up = recording.given_up(way.target.placement.place, str(gone))
        if move.state is MoveState.CLEANING and (record := recording.cleaned(move, given_up)) is not None:
            await self._store.record_evidence(move, record)
            await self._reached(move.id, Step.EVIDENCE_RECORDED)
        await cleaning.clear_serving(way, self._reached, deadline)
        await self._store.forget_place(move, way.target.placement.place.id)
        await self._reached(move.id, Step.PLACE_FORGOTTEN)
        if given_up is not None:
            why = f"given up: what is at {given_up['place']} of cluster {given_up['cluster']} is left there"
            return await self._advance(move, end_of(move), error=why, more={"given_up": given_up})
        return await self._advance(move, end_of(move), error=move.error)

    async def _clear_left(self, move: Move, way: Way, serving: Fence, deadline: Deadline) -> bool:
        is_lived_in = move.state is MoveState.CLEANING
        if is_lived_in and not _has_soaked(move):  # there is no guard, by which shared rows go
            raise ClusterUnreachable(way.target.access.name, "it was not reached since the cut-over")
        return await cleaning.clear_left(
            way, serving, move.target_epoch or 0, self._reached, Deadline.after(self._piece_s), deadline,
            is_lived_in=is_lived_in,
        )  # fmt: skip


def _has_soaked(move: Move) -> bool:
    """Whether the old place has been kept equal once, and so bears a guard of the move."""
    return move.progress.get("is_left") is True
