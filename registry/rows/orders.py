"""Orders to every process: a row for each, which processes read when they are told that there is one."""

import math
from datetime import timedelta

from sqlalchemy import Float, RowMapping, and_, cast, delete, exists, func, insert, or_, select

from registry.orders import Kind, Order, Scope, Verb
from registry.placement import PlaceId
from registry.records import Entry
from registry.rows.asking import row, rows, tell
from registry.rows.processes import Processes
from registry.tables import MOVE, POOL_ORDER

_STANDING = [verb for verb in Verb if verb.stands]
_NOW = func.clock_timestamp()
# By the name that `begin_cutover` gives, for which there is an index; the move itself says whether it is so.
_IS_HOLD = exists().where(
    MOVE.c.id == func.substr(POOL_ORDER.c.actor, len("move ") + 1), MOVE.c.hold_order == POOL_ORDER.c.id
)
_ORDERS = (
    select(
        POOL_ORDER,
        cast(func.extract("epoch", POOL_ORDER.c.ends_at - _NOW), Float).label("left_s"),
        cast(func.extract("epoch", _NOW - POOL_ORDER.c.made_at), Float).label("age_s"),
        _IS_HOLD.label("is_hold"),
    )
    .where(POOL_ORDER.c.ends_at > _NOW)
    .order_by(POOL_ORDER.c.id)
)


class Orders(Processes):
    """What operators have told every process to do."""

    async def orders(self) -> list[Order]:
        """Every order that has not ended, in the order of giving."""
        async with self._reading() as connection:
            return [_order(found) for found in await rows(connection, _ORDERS)]

    async def give_order(
        self, verb: Verb, scope: Scope, place: PlaceId | None, *, for_s: float, actor: str
    ) -> Order:
        """Have every process carry out an order; nobody has when this returns.

        One that stands takes the place of what stands for the same scope; `resume` ends that. What a move
        holds up for its cut-over is the move's, and stays.

        Args:
            place: Of a tenant that has one of its own.
            for_s: Until it ends.
        """
        same = and_(POOL_ORDER.c.kind == scope.kind, POOL_ORDER.c.name == scope.name)
        is_over = POOL_ORDER.c.ends_at < _NOW
        if verb.stands or verb is Verb.RESUME:
            is_over = or_(is_over, and_(same, POOL_ORDER.c.verb.in_(_STANDING), ~_IS_HOLD))
        async with self._changing() as connection:
            # At once, and so in the same order as whoever does the same now: neither waits for the other.
            await connection.execute(delete(POOL_ORDER).where(is_over))
            given = insert(POOL_ORDER).values(
                verb=verb, kind=scope.kind, name=scope.name, place=place, actor=actor,
                ends_at=func.now() + timedelta(seconds=for_s),
            )  # fmt: skip
            number = (await connection.execute(given.returning(POOL_ORDER.c.id))).scalar_one()
            await tell(connection, order=str(number))
            if verb is not Verb.SHOW:
                await self._write_down(connection, _entry(verb, scope, for_s, actor))
        return Order(number, verb, scope, place, actor, for_s, 0.0)

    async def order(self, number: int) -> Order | None:
        """The order of that number; None when it has ended."""
        async with self._reading() as connection:
            found = await row(connection, _ORDERS.where(POOL_ORDER.c.id == number))
        return None if found is None else _order(found)


def _order(found: RowMapping) -> Order:
    return Order(
        found["id"],
        Verb(found["verb"]),
        Scope(Kind(found["kind"]), found["name"]),
        None if found["place"] is None else PlaceId(found["place"]),
        found["actor"],
        found["left_s"],
        found["age_s"],
        found["is_hold"],
    )


def _entry(verb: Verb, scope: Scope, for_s: float, actor: str) -> Entry:
    subject = scope.name if scope.kind is Kind.TENANT else f"{scope.kind} {scope.name}"
    detail: dict[str, object] = {str(scope.kind): scope.name}
    if verb.stands:
        detail["for_s"] = math.ceil(for_s)
    return Entry(actor, f"order.{verb}", subject, detail=detail)
