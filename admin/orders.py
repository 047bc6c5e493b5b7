"""What operators tell every process of every gateway to do, and what came of it."""

import asyncio
from collections.abc import Sequence

from admin.acting import Acting
from admin.errors import ScopeShared
from registry.errors import RegistryUnavailable, UnknownTenant
from registry.orders import Kind, Known, Order, Scope, Told, Verb
from registry.placement import PlaceId
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

_SPARE_S = 60.0
"""For how long an order that does not stand can be taken after nobody waits for it any more."""
_FIRST_LOOK_S = 0.01
_LONGEST_LOOK_S = 0.25


class Ordering(Acting):
    """Orders of operators."""

    async def give(self, verb: Verb, scope: Scope, *, for_s: float, wait_s: float, actor: str) -> Told:
        """Have every process carry out an order, and wait for it, *wait_s* at most.

        Asked again it is the same order once more: one that stands goes on, without a gap, until its new end.

        Raises:
            UnknownTenant, UnknownPlace, UnknownCluster: There is none of that name.
            ScopeShared: The tenant's connections are others', too.
        """
        async with self._witnessed(actor, f"order.{verb}", scope.name):
            place = await self._own_place(verb, scope)
            lasts_s = for_s if verb.stands else wait_s + _SPARE_S
            order = await self._store.give_order(verb, scope, place, for_s=lasts_s, actor=actor)
        return await self._told(order, Deadline.after(min(wait_s, lasts_s)))

    async def standing(self) -> list[Order]:
        """What is paused and what is drained."""
        return [order for order in await self._store.orders() if order.verb.stands]

    async def processes(self) -> Sequence[Known]:
        """Every process of every gateway, with what it has."""
        return await self._store.processes(holdings=True)

    async def _own_place(self, verb: Verb, scope: Scope) -> PlaceId | None:
        """The place of a tenant that shares it with nobody."""
        match scope.kind:
            case Kind.CLUSTER:
                await self._store.cluster(scope.name)
            case Kind.POOL:
                await self._store.place(PlaceId(scope.name))
            case Kind.TENANT:
                placement = await self._store.route(TenantId(scope.name))
                if placement is None:
                    raise UnknownTenant(scope.name)
                if placement.tier is not Tier.STANDARD:
                    return placement.place.id
                if verb is Verb.RECONNECT:
                    raise ScopeShared(scope.name, placement.place.id)
        return None

    async def _told(self, order: Order, deadline: Deadline) -> Told:
        """What every process says, once all have done it who were heard of lately, or the time is over.

        Raises:
            RegistryUnavailable: It could not be asked, all the time; the order is given.
        """
        pause_s = _FIRST_LOOK_S
        while True:
            try:
                known = tuple(await self._store.processes(order.id))
                if all(each.has_done for each in known):
                    return Told(order, known)
                if not deadline.left_s() or all(each.has_done or each.is_silent for each in known):
                    return Told(order, known, is_over=await self._store.order(order.id) is None)
            except RegistryUnavailable:
                if not deadline.left_s():
                    raise
            await asyncio.sleep(min(pause_s, deadline.left_s()))
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
