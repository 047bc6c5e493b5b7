"""Where each tenant lives, from memory where possible."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from registry.cache import Cache
from registry.errors import UnknownTenant
from registry.limits import Limits
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.events import Emit
from tiergate.tenant import TenantId


class Routes(Protocol):
    """What the directory needs of the registry."""

    async def route(self, tenant: TenantId) -> Placement | None:
        """The tenant's placement, in one round trip."""

    async def follow_move(self, tenant: TenantId, epoch: int) -> bool:
        """The fence says that the tenant has lived elsewhere since *epoch*: let the registry say so, too."""


class Directory:
    """Answers where a tenant lives; what it answers is at most one TTL old while the registry is up.

    It says what the registry says, suspended tenants included; the fence in the
    data database has the last word.
    """

    def __init__(self, cache: Cache[TenantId, Placement], since: dict[TenantId, int]) -> None:
        """*since* tells those who load the cache what fences have said."""
        self.cache = cache
        self._since = since

    def locate_now(self, tenant: TenantId) -> Placement | None:
        """The placement, when memory has it; never waits, well under 1 µs."""
        return self.cache.peek(tenant)

    async def locate(self, tenant: TenantId, deadline: Deadline) -> Placement:
        """The placement.

        Raises:
            UnknownTenant: There is none.
            RegistryUnavailable: It is not in memory, and the registry does not answer in time.
        """
        placement = await self.cache.get(tenant, deadline)
        if placement is None:
            raise UnknownTenant(tenant)
        return placement

    def follow(self, tenant: TenantId, epoch: int) -> None:
        """A fence has sent *tenant* on: it has lived elsewhere since *epoch*, so believe nothing older.

        Whoever moves it may have died before telling the registry; then the next look tells it.
        """
        known = self.cache.peek(tenant)
        if self._since.get(tenant, 0) < epoch and (known is None or known.epoch < epoch):
            self._since[tenant] = epoch
            self.forget(tenant)

    def forget(self, tenant: TenantId) -> None:
        """The tenant's placement has changed, or a fence has refused it."""
        self.cache.invalidate(tenant)

    def doubt(self) -> None:
        """Changes may have been missed: believe nothing without asking."""
        self.cache.doubt()


def is_later(known: Placement, read: Placement) -> bool:
    """Whether *read* may replace *known*: a placement never goes back to a lower epoch."""
    return read.epoch >= known.epoch


@asynccontextmanager
async def open_directory(routes: Routes, limits: Limits, *, emit: Emit) -> AsyncIterator[Directory]:
    """A directory over a cache of its own, which loads from *routes*."""
    since: dict[TenantId, int] = {}

    async def load(tenant: TenantId) -> Placement | None:
        placement, epoch = await routes.route(tenant), since.pop(tenant, 0)
        if placement is None or placement.epoch >= epoch:
            return placement
        await routes.follow_move(tenant, epoch)
        return await routes.route(tenant)

    async with Cache("placement", load, limits, emit=emit, accept=is_later) as cache:
        yield Directory(cache, since)
