"""Where a request goes next that was not served where the registry was thought to say."""

from pools.errors import ContextRefused, DatabaseUnavailable, HeldUp, StaleRoute
from registry.directory import Directory
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.events import Emit, StaleRouteRefused
from tiergate.tenant import Tier

DOUBTS = (StaleRoute, ContextRefused, DatabaseUnavailable, HeldUp)
"""What may be so because a placement is out of date; nothing of the request ran then."""

MOST = 4
"""Times that one request is sent on: held while its tenant moves, refused by a fence, and by a new key."""


class Relocation:
    """Asks the registry anew, and says whether that is of any use."""

    def __init__(self, directory: Directory, emit: Emit) -> None:
        self._directory = directory
        self._emit = emit

    async def after(self, doubt: TiergateError, placement: Placement, deadline: Deadline) -> Placement:
        """The placement to try next, after *placement* met with *doubt*.

        Raises:
            TiergateError: *doubt*: another try would meet the same.
            UnknownTenant: It is no more.
            RegistryUnavailable: It cannot be known.
        """
        tenant = placement.tenant
        is_told_to_repeat = False
        match doubt:
            case HeldUp():  # it may have moved meanwhile, or not
                return await self._directory.locate(tenant, deadline)
            case StaleRoute(fence_state=state):
                self._emit(StaleRouteRefused(tenant, placement.tier, state))
                is_told_to_repeat = state == "changed"
                if doubt.forward_epoch is not None:
                    self._directory.follow(tenant, doubt.forward_epoch)
                else:
                    self._directory.forget(tenant)
                if state == "suspended":
                    raise doubt  # the fence has the last word; no need to ask the registry
            case ContextRefused(doubt="key"):
                # The key was replaced, or the way to the cluster has changed, and we have not heard of it.
                self._directory.forget(tenant)
            case DatabaseUnavailable(is_of_server=False) if placement.tier is not Tier.STANDARD:
                self._directory.forget(
                    tenant
                )  # a place of its own that is gone: perhaps it has another by now
            case _:
                raise doubt
        fresh = await self._directory.locate(tenant, deadline)
        if not is_told_to_repeat and _is_same(fresh, placement, doubt):
            raise doubt
        return fresh


def _is_same(fresh: Placement, placement: Placement, doubt: TiergateError) -> bool:
    if isinstance(doubt, ContextRefused):
        return fresh == placement
    return (fresh.place.id, fresh.epoch) == (placement.place.id, placement.epoch)
