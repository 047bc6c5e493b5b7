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


class Directory:
    """Answers where a tenant lives; what it answers is at most one TTL old while the registry is up.

    It says what the registry says, suspended tenants included; the fence in the
    data database has the last word.
    """

    def __init__(self, cache: Cache[TenantId, Placement]) -> None:
        self.cache = cache

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
    async with Cache("placement", routes.route, limits, emit=emit, accept=is_later) as cache:
        yield Directory(cache)
