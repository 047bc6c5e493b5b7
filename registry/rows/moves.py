"""Moves as operators see them: planned, looked at, asked for."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from sqlalchemy import Float, Insert, RowMapping, Select, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from registry.errors import MoveOpen, NoCluster, SamePlace, UnknownMove, WrongState
from registry.moves import Move, MoveId, MoveState, MoveStep, Spot, Timing, Wanted
from registry.placement import PlaceId, Placement, TenantState
from registry.records import Entry
from registry.rows.asking import row, rows, tell
from registry.rows.choosing import choose
from registry.rows.places import PLACE_COLUMNS, PLACES
from registry.rows.tenants import LIMITS, Tenants, locked_state
from registry.tables import MOVE, MOVE_STEP, PLACE, TENANT
from tiergate.tenant import TenantId, Tier

_LEFT_S = cast(func.extract("epoch", MOVE.c.leased_until - func.clock_timestamp()), Float).label("leased_s")
_COLUMNS = (*MOVE.c, _LEFT_S)
MOVES = select(*_COLUMNS)
OPEN = MOVE.c.state.not_in([state for state in MoveState if state.is_over])

_FITTING: dict[Wanted, frozenset[MoveState]] = {
    Wanted.CUTOVER: frozenset(state for state in MoveState if state.is_before_cutover),
    Wanted.ABORT: frozenset(state for state in MoveState if state.is_before_cutover)
    | {MoveState.CUTTING_OVER},
    Wanted.ROLLBACK: frozenset({MoveState.SOAKING}),
    Wanted.CLEANUP: frozenset({MoveState.SOAKING}),
    Wanted.GIVE_UP: frozenset({MoveState.SOAKING, MoveState.CLEANING, MoveState.ABORTING}),
}

# A move's end as a placement, whatever the tenant's own placement says.
_ENDS = select(
    MOVE.c.tenant.label("name"),
    PLACE.c.tier,
    TENANT.c.region,
    TENANT.c.state,
    *(TENANT.c[name] for name in LIMITS),
    func.coalesce(MOVE.c.target_epoch, 0).label("target_epoch"),
    MOVE.c.epoch,
    MOVE.c.state.label("move_state"),
    *PLACE_COLUMNS,
).select_from(
    MOVE.join(TENANT, TENANT.c.name == MOVE.c.tenant).join(
        PLACES, PLACE.c.id.in_([MOVE.c.source_place, MOVE.c.target_place])
    )
)


class Moves(Tenants):
    """Who moves, from where to where, and how far it is."""

    async def plan_move(
        self,
        tenant: TenantId,
        tier: Tier,
        *,
        cluster: str | None,
        timing: Timing,
        application_schema: str,
        actor: str,
    ) -> Move:
        """Write a move down, with the place that it goes to, still to be made.

        Args:
            cluster: Where to; None for the one of that tier and the tenant's region with the fewest tenants.

        Raises:
            UnknownTenant: There is none.
            WrongState: It is being created or deleted.
            MoveOpen: It is being moved already.
            SamePlace: It is there already.
            UnknownCluster, WrongTier, ResidencyViolated, NoCluster: As when a tenant is created.
        """
        async with self._changing() as connection:
            here, chosen = await self._both_ends(connection, tenant, tier, cluster)
            place = await self._make_room(connection, chosen, tier, application_schema)
            number = str(uuid.uuid4())
            planned = insert(MOVE).values(
                id=number, tenant=tenant, state=MoveState.PLANNED, actor=actor, epoch=here.epoch,
                source_place=here.place.id, source_tier=here.tier, source_cluster=here.place.cluster,
                target_place=place, target_tier=tier, target_cluster=chosen["name"],
                holds=timing.holds, cut_at=timing.cut_at, soak_s=timing.soak_s,
            )  # fmt: skip
            await connection.execute(planned)
            await add_step(connection, number, MoveState.PLANNED)
            await tell(connection, move=number)
            detail = {"move": number, "from": here.place.cluster, "to": chosen["name"], "tier": tier}
            await self._write_down(connection, Entry(actor, "move.plan", tenant, detail=detail))
            return await move_of(connection, number)

    async def foresee_move(
        self, tenant: TenantId, tier: Tier, *, cluster: str | None
    ) -> tuple[Placement, str]:
        """Where the tenant is, and the cluster that `plan_move` would choose now; nothing is written down.

        Raises:
            Whatever `plan_move` does.
        """
        async with self._changing() as connection:
            here, chosen = await self._both_ends(connection, tenant, tier, cluster)
            return here, chosen["name"]

    async def move(self, number: MoveId) -> Move:
        """The move of that id.

        Raises:
            UnknownMove: There is none.
        """
        async with self._reading() as connection:
            return await move_of(connection, number)

    async def moves(
        self, *, tenant: TenantId | None = None, open_only: bool = False, limit: int = 100
    ) -> list[Move]:
        """Moves, the latest first."""
        wanted = MOVES.order_by(MOVE.c.created_at.desc(), MOVE.c.id).limit(limit)
        if tenant is not None:
            wanted = wanted.where(MOVE.c.tenant == tenant)
        if open_only:
            wanted = wanted.where(OPEN)
        async with self._reading() as connection:
            return [read_move(found) for found in await rows(connection, wanted)]

    async def move_steps(self, number: MoveId) -> list[MoveStep]:
        """The move's journal, oldest first."""
        wanted = select(MOVE_STEP).where(MOVE_STEP.c.move == number).order_by(MOVE_STEP.c.id)
        async with self._reading() as connection:
            return [
                MoveStep(found["at"], MoveState(found["state"]), found["detail"])
                for found in await rows(connection, wanted)
            ]

    async def ends(self, move: Move) -> tuple[Placement, Placement]:
        """The places at its source and its target; the tenant's own state and limits with each.

        The epochs are the move's: of the tenant when it began, and of the last attempt, or 0.

        Raises:
            UnknownMove: There is none, or one of its places is gone.
        """
        async with self._reading() as connection:
            found = await rows(connection, _ENDS.where(MOVE.c.id == move.id))
        by_place = {each["place_id"]: each for each in found}
        try:
            source, target = by_place[move.source.place], by_place[move.target.place]
        except KeyError as error:
            raise UnknownMove(move.id) from error
        return self._end(source, source["epoch"]), self._end(target, target["target_epoch"])

    async def ask_move(
        self, number: MoveId, wanted: Wanted | Literal["pause", "resume"], *, actor: str
    ) -> Move:
        """Have the worker do something with the move when it comes to it. Again is no harm.

        Raises:
            UnknownMove: There is none.
            WrongState: The move is over, or not where that could be done.
        """
        async with self._changing() as connection:
            found = await row(connection, MOVES.where(MOVE.c.id == number).with_for_update())
            if found is None:
                raise UnknownMove(number)
            move = read_move(found)
            fitting = _FITTING[wanted] if isinstance(wanted, Wanted) else frozenset(MoveState)
            if move.state.is_over or move.state not in fitting:
                raise WrongState(f"move {number}", move.state, f"asked to {wanted}")
            values: dict[str, object] = (
                {"wanted": wanted, "is_paused": False}
                if isinstance(wanted, Wanted)
                else {"is_paused": wanted == "pause"}
            )
            await connection.execute(update(MOVE).where(MOVE.c.id == number).values(values))
            await tell(connection, move=number)
            entry = Entry(actor, f"move.{wanted}", move.tenant, detail={"move": number})
            await self._write_down(connection, entry)
            return await move_of(connection, number)

    async def moving_to(self) -> list[Placement]:
        """Where tenants are about to live, so that connections may be open by then."""
        soon = [MoveState.VERIFYING, MoveState.READY, MoveState.CUTTING_OVER]
        there = (MOVE.c.state.in_(soon) & (PLACE.c.id == MOVE.c.target_place)) | (
            (MOVE.c.state == MoveState.RETURNING) & (PLACE.c.id == MOVE.c.source_place)
        )
        async with self._reading() as connection:
            found = await rows(connection, _ENDS.where(there))
        return [self._end(each, each["target_epoch"]) for each in found]

    async def _both_ends(
        self, connection: AsyncConnection, tenant: TenantId, tier: Tier, named: str | None
    ) -> tuple[Placement, RowMapping]:
        """Where the tenant is, and the cluster that it may move to; both stay until the transaction ends."""
        state = await locked_state(connection, tenant)
        if state not in {TenantState.ACTIVE, TenantState.SUSPENDED}:
            raise WrongState(f"tenant {tenant!r}", state, "moved")
        await refuse_moving(connection, tenant)
        here = await self._placed(connection, tenant)
        try:
            chosen = await choose(connection, tier, here.region, named, apart=here.place.cluster)
        except NoCluster as error:
            if here.tier is tier:
                raise SamePlace(tenant, here.place.cluster) from error
            raise
        if chosen["name"] == here.place.cluster:
            raise SamePlace(tenant, here.place.cluster)
        return here, chosen

    def _end(self, found: RowMapping, epoch: int) -> Placement:
        return replace(self._placement(found), epoch=epoch)


async def refuse_moving(connection: AsyncConnection, tenant: TenantId) -> None:
    """Return when nobody moves the tenant, whose row the caller has locked.

    Raises:
        MoveOpen: Somebody does.
    """
    found = await row(connection, select(MOVE.c.id, MOVE.c.state).where(MOVE.c.tenant == tenant, OPEN))
    if found is not None:
        raise MoveOpen(tenant, found["id"], found["state"])


async def move_of(connection: AsyncConnection, number: str) -> Move:
    """The move of that id.

    Raises:
        UnknownMove: There is none.
    """
    found = await row(connection, _one(number))
    if found is None:
        raise UnknownMove(number)
    return read_move(found)


async def add_step(
    connection: AsyncConnection, number: str, state: MoveState, detail: dict[str, object] | None = None
) -> None:
    """Add a line to the move's journal."""
    await connection.execute(step_of(number, state, detail or {}))


def step_of(number: str, state: MoveState, detail: Mapping[str, object]) -> Insert:
    """`add_step` as a part of another statement."""
    return insert(MOVE_STEP).values(move=number, state=state, detail=dict(detail))


def changed(values: Mapping[str, object]) -> ReturningUpdate[tuple[object, ...]]:
    """A change of moves; it returns what they are then, as MOVES does."""
    return update(MOVE).values(dict(values)).returning(*_COLUMNS)


def read_move(found: RowMapping) -> Move:
    """One row of MOVES."""
    left_s = found["leased_s"]
    return Move(
        id=MoveId(found["id"]),
        tenant=TenantId(found["tenant"]),
        state=MoveState(found["state"]),
        source=_spot(found, "source"),
        target=_spot(found, "target"),
        epoch=found["epoch"],
        timing=Timing(found["holds"], found["cut_at"], found["soak_s"]),
        actor=found["actor"],
        created_at=found["created_at"],
        changed_at=found["changed_at"],
        target_epoch=found["target_epoch"],
        attempt=found["attempt"],
        worker=found["worker"],
        leased_s=0.0 if left_s is None else left_s,
        is_paused=found["is_paused"],
        wanted=None if found["wanted"] is None else Wanted(found["wanted"]),
        progress=found["progress"],
        error=found["error"],
        cut_over_at=found["cut_over_at"],
        ended_at=found["ended_at"],
        evidence=found["evidence"],
    )


def _one(number: str) -> Select[tuple[object, ...]]:
    return MOVES.where(MOVE.c.id == number)


def _spot(found: RowMapping, end: str) -> Spot:
    place, tier, cluster = (found[f"{end}_{part}"] for part in ("place", "tier", "cluster"))
    return Spot(PlaceId(place), Tier(tier), cluster)
