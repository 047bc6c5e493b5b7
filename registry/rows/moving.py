"""Moves as their workers have them: one at a time has one, and says how far it is.

Every change is for the attempt that it names, and for the state that the worker thinks the move is in: who
was believed dead, and is not, changes nothing. `publish_move` alone is anybody's: what the fence says is so.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import ColumnElement, RowMapping, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.errors import MoveLost
from registry.moves import Move, MoveId, MoveState
from registry.orders import Kind, Verb
from registry.placement import PlaceId, Placement
from registry.records import Entry, PlaceState
from registry.rows.asking import row, tell, told
from registry.rows.moves import MOVES, OPEN, Moves, add_step, changed, read_move, step_of
from registry.rows.own import OwnOfTenants
from registry.tables import (
    DATA_DATABASE,
    EPOCH,
    MOVE,
    PLACE,
    PLACEMENT,
    POOL_ORDER,
    REGISTRY,
    TENANT,
)
from tiergate.tenant import TenantId, Tier

_NOW = func.clock_timestamp()
_CUTTING = [MoveState.CUTTING_OVER, MoveState.RETURNING]


class Moving(Moves, OwnOfTenants):
    """Moves on their way."""

    async def warm(self) -> list[Placement]:
        """Where connections are kept open: places of warm tenants, and of those who are coming; one each."""
        coming = {placement.place.id: placement for placement in await self.moving_to()}
        known = [each for each in await super().warm() if each.place.id not in coming]
        return [*known, *coming.values()]

    async def claim_move(self, worker: str, *, for_s: float, only: MoveId | None = None) -> Move | None:
        """Take a move that nobody has, with an attempt of its own; None when there is none to take."""
        free = or_(MOVE.c.leased_until.is_(None), MOVE.c.leased_until < _NOW)
        moves = or_(MOVE.c.is_paused.is_(False), MOVE.c.wanted.is_not(None))
        wanted = select(MOVE.c.id).where(OPEN, free, moves).order_by(MOVE.c.changed_at).limit(1)
        if only is not None:
            wanted = wanted.where(MOVE.c.id == only)
        async with self._changing() as connection:
            found = await row(connection, wanted.with_for_update(skip_locked=True))
            if found is None:
                return None
            values = {
                "attempt": str(uuid.uuid4()), "worker": worker,
                "leased_until": _NOW + timedelta(seconds=for_s),
            }  # fmt: skip
            taken = await row(connection, changed(values).where(MOVE.c.id == found["id"]))
            return None if taken is None else read_move(taken)

    async def renew_move(
        self, move: Move, *, for_s: float, progress: Mapping[str, object] | None = None
    ) -> Move:
        """Keep the move; as it is now, with what an operator has asked meanwhile.

        Raises:
            MoveLost: It is another's.
        """
        values: dict[str, object] = {"leased_until": _NOW + timedelta(seconds=for_s)}
        if progress is not None:
            values["progress"] = dict(progress)
        async with self._changing() as connection:
            return await _change(connection, move, values, in_state=False)

    async def release_move(self, move: Move) -> None:
        """Let another have it at once; no harm when another has it already."""
        theirs = (MOVE.c.id == move.id, MOVE.c.attempt == move.attempt)
        async with self._changing() as connection:
            await connection.execute(update(MOVE).where(*theirs).values(leased_until=None, worker=None))
            await tell(connection, move=move.id)

    async def advance_move(
        self,
        move: Move,
        to: MoveState,
        *,
        detail: Mapping[str, object] | None = None,
        error: str | None = None,
        clears_wanted: bool = False,
    ) -> Move:
        """Bring the move to another state, and write that into its journal.

        Raises:
            MoveLost: It is another's, or in another state than *move* says.
        """
        values: dict[str, object] = {"state": to, "changed_at": _NOW, "error": error}
        if clears_wanted:
            values["wanted"] = None
        if to is MoveState.RETURNING:
            values["target_epoch"] = None  # what the way there has published must not publish the way back
        if to.is_over:
            values |= {"ended_at": _NOW, "leased_until": None, "worker": None, "wanted": None}
        async with self._changing() as connection:
            moved = await _change(connection, move, values)
            await add_step(connection, move.id, to, dict(detail or {}))
            if to.is_over:
                left = {name: what for name, what in (detail or {}).items() if name == "given_up"}
                entry = Entry(move.actor, f"move.{to}", move.tenant, detail={"move": move.id} | left)
                await self._write_down(connection, entry)
            await tell(connection, move=move.id)
            await tell(connection, tenant=move.tenant)  # which places are to be kept warm
            return moved

    async def begin_cutover(self, move: Move, *, hold_s: float) -> Move:
        """An epoch for an attempt, and every gateway lets the tenant's requests wait, for *hold_s* at most.

        Raises:
            MoveLost: It is another's, or not cutting over nor returning.
        """
        held = insert(POOL_ORDER).values(
            verb=Verb.PAUSE, kind=Kind.TENANT, name=move.tenant, actor=f"move {move.id}",
            ends_at=_NOW + timedelta(seconds=hold_s),
        ).returning(POOL_ORDER.c.id).cte("held")  # fmt: skip
        values = {"target_epoch": EPOCH.next_value(), "hold_order": select(held.c.id).scalar_subquery()}
        cutting = changed(values).where(*_of(move), MOVE.c.state.in_(_CUTTING)).cte("cutting")
        async with self._changing() as connection:
            return _kept(move, await row(connection, select(cutting, told(order=""))))

    async def end_hold(self, move: Move) -> None:
        """Gateways let the tenant's requests go on; the attempt was put off."""
        held = select(MOVE.c.hold_order).where(MOVE.c.id == move.id).scalar_subquery()
        ended = delete(POOL_ORDER).where(POOL_ORDER.c.id == held).returning(POOL_ORDER.c.id).cte("ended")
        async with self._changing() as connection:
            await connection.execute(select(told(order="")).select_from(ended))

    async def publish_move(self, number: MoveId, epoch: int) -> bool:
        """The fence says that the tenant lives at the other end, since *epoch*: send everybody there.

        Whoever has read that in a fence may say so, any number of times.

        Returns:
            Whether this was the first time.
        """
        async with self._changing() as connection:
            return await self._publish(connection, MOVE.c.id == number, epoch)

    async def follow_move(self, tenant: TenantId, epoch: int) -> bool:
        """The same, by a gateway that was sent on by the fence of *tenant*."""
        async with self._changing() as connection:
            return await self._publish(connection, (MOVE.c.tenant == tenant) & OPEN, epoch)

    async def record_evidence(self, move: Move, evidence: Mapping[str, object]) -> Mapping[str, object]:
        """Sign what a move has shown, and keep it with the move; its digest goes into the audit.

        Raises:
            MoveLost: It is another's.
        """
        async with self._changing() as connection:
            text = _canonical(evidence)
            signed = {"record": dict(evidence), "signature": self._sign(await _registry(connection), text)}
            await _change(connection, move, {"evidence": signed}, in_state=False)
            digest = hashlib.sha256(text).hexdigest()
            entry = Entry(
                move.actor, "move.evidence", move.tenant, detail={"move": move.id, "sha256": digest}
            )
            await self._write_down(connection, entry)
            return signed

    async def is_authentic(self, signed: Mapping[str, object]) -> bool:
        """Whether a record of evidence was signed by this registry, and is as it was."""
        record, signature = signed.get("record"), signed.get("signature")
        if not isinstance(record, Mapping) or not isinstance(signature, str):
            return False
        async with self._reading() as connection:
            registry = await _registry(connection)
        return hmac.compare_digest(self._sign(registry, _canonical(record)).encode(), signature.encode())

    async def forget_place(self, move: Move, place: PlaceId) -> None:
        """Nothing is left of a place at one of the move's ends; no harm when it is forgotten already.

        Raises:
            MoveLost: It is another's, or in another state than *move* says.
        """
        known = select(PLACE).where(PLACE.c.id == place, PLACE.c.tier != Tier.STANDARD)
        async with self._changing() as connection:
            await _change(connection, move, {})
            found = await row(connection, known)
            if found is None:
                return
            await connection.execute(delete(PLACE).where(PLACE.c.id == place))
            if found["tier"] == Tier.GOVERNMENT:
                there = (
                    DATA_DATABASE.c.cluster == found["cluster"],
                    DATA_DATABASE.c.database == found["database"],
                )
                await connection.execute(delete(DATA_DATABASE).where(*there))

    async def _publish(self, connection: AsyncConnection, which: object, epoch: int) -> bool:
        asked = MOVES.where(which, MOVE.c.target_epoch == epoch, MOVE.c.state.in_(_CUTTING))  # type: ignore[arg-type]
        found = await row(connection, asked.with_for_update())
        if found is None:
            return False
        move = read_move(found)
        goes = move.state is MoveState.CUTTING_OVER
        there = move.target if goes else move.source
        to = MoveState.SOAKING if goes else MoveState.ABORTING
        values: dict[str, object] = {"state": to, "changed_at": _NOW, "wanted": None, "error": None}
        if goes:
            values["cut_over_at"] = _NOW
        placed = {"place": there.place, "epoch": epoch, "since": _NOW}
        # One statement, since the tenant waits for it.
        await connection.execute(
            select(told(tenant=move.tenant), told(order=""), told(move=move.id)).add_cte(
                update(MOVE).where(MOVE.c.id == move.id).values(values).cte("moved"),
                update(PLACEMENT).where(PLACEMENT.c.tenant == move.tenant).values(placed).cte("placed"),
                update(TENANT).where(TENANT.c.name == move.tenant).values(tier=there.tier).cte("raised"),
                update(PLACE).where(PLACE.c.id == there.place).values(state=PlaceState.READY).cte("made"),
                step_of(move.id, to, {"epoch": epoch}).cte("written"),
                delete(POOL_ORDER).where(POOL_ORDER.c.id == found["hold_order"]).cte("let_go"),
            )
        )
        detail = {"move": move.id, "cluster": there.cluster, "place": there.place, "epoch": epoch}
        await self._write_down(connection, Entry(move.actor, "tenant.move", move.tenant, detail=detail))
        return True

    def _sign(self, registry: str, text: bytes) -> str:
        return hmac.new(self._vault.evidence_key(registry), text, hashlib.sha256).hexdigest()


async def _change(
    connection: AsyncConnection, move: Move, values: Mapping[str, object], *, in_state: bool = True
) -> Move:
    wanted = changed(values or {"attempt": move.attempt}).where(*_of(move, in_state=in_state))
    return _kept(move, await row(connection, wanted))


def _of(move: Move, *, in_state: bool = True) -> list[ColumnElement[bool]]:
    """It is the move, and its worker's yet, and in the state that is known."""
    theirs = [MOVE.c.id == move.id, MOVE.c.attempt == move.attempt, OPEN]
    return [*theirs, MOVE.c.state == move.state] if in_state else theirs


def _kept(move: Move, found: RowMapping | None) -> Move:
    if found is None:
        raise MoveLost(move.id)
    return read_move(found)


async def _registry(connection: AsyncConnection) -> str:
    return str((await connection.execute(select(REGISTRY.c.id))).scalar_one())


def _canonical(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
