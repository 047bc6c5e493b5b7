"""Two tenants of ours for a minute, and what is left of those whose run was killed.

Their names say whose they are: random, and marked by the registry's fingerprint, so that no tenant of
anybody else's is ever taken for one of them.
"""

import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from registry.placement import PlaceId, Placement
from registry.records import Cluster
from registry.store import Store
from tiergate.deadline import Deadline, finish
from tiergate.tenant import TenantId, Tier

_NAME = re.compile(r"verify-([0-9a-f]{8})([0-9a-f]{8})-(a|b)")
_PREFIX = "verify-"
_STEP_S = 60.0
_PAGE = 1000


class Tenants(Protocol):
    """What is needed of the acts of operators."""

    async def create_tenant(
        self,
        name: TenantId,
        tier: Tier,
        *,
        region: str | None,
        cluster: str | None,
        actor: str,
        deadline: Deadline,
    ) -> object:
        """Take a tenant in, and serve it."""

    async def delete_tenant(self, name: TenantId, *, actor: str, deadline: Deadline, forgets: bool) -> None:
        """Remove a tenant with all that it had."""


class Dismissing(Protocol):
    """What is needed of the pools."""

    def dismiss(self, place: PlaceId) -> None:
        """Close what is open to a place that goes away."""


class Throwaways:
    """Makes them, and removes them whatever happens."""

    def __init__(self, store: Store, tenants: Tenants, pools: Dismissing, *, actor: str) -> None:
        self._store = store
        self._tenants = tenants
        self._pools = pools
        self._actor = actor

    @asynccontextmanager
    async def open(self, cluster: Cluster) -> AsyncIterator[tuple[Placement, Placement]]:
        """Two tenants on *cluster*, served; both are gone at the end.

        Raises:
            TiergateError: They could not be made, or not removed; see admin/operations.py.
        """
        names = await self.new_names()
        try:
            for name in names:
                await self._tenants.create_tenant(
                    name,
                    cluster.tier,
                    region=None,
                    cluster=cluster.name,
                    actor=self._actor,
                    deadline=Deadline.after(_STEP_S),
                )
            first, second = [
                placed for name in names if (placed := await self._store.route(name)) is not None
            ]
            yield first, second
        finally:
            await finish(self._remove(names), within_s=_STEP_S)

    async def new_names(self) -> list[TenantId]:
        """Of two tenants that never were."""
        seed = secrets.token_hex(4)
        marked = f"{_PREFIX}{seed}{_mark(await self._store.fingerprint(), seed)}"
        return [TenantId(f"{marked}-{letter}") for letter in "ab"]

    async def sweep(self) -> int:
        """Remove what killed runs have left; how many tenants that were."""
        fingerprint = await self._store.fingerprint()
        page = await self._store.tenants(limit=_PAGE, after=_PREFIX)
        left = [tenant.name for tenant in page if is_ours(tenant.name, fingerprint)]
        await self._remove(left)
        return len(left)

    async def _remove(self, names: list[TenantId]) -> None:
        for name in names:
            placement = await self._store.route(name)
            if placement is None:
                continue
            if placement.tier is not Tier.STANDARD:
                self._pools.dismiss(placement.place.id)
            await self._tenants.delete_tenant(
                name, actor=self._actor, deadline=Deadline.after(_STEP_S), forgets=True
            )


def is_ours(name: str, fingerprint: str) -> bool:
    """Whether a run of this installation has made the tenant of that name."""
    found = _NAME.fullmatch(name)
    return found is not None and found[2] == _mark(fingerprint, found[1])


def _mark(fingerprint: str, seed: str) -> str:
    return hashlib.sha256(f"verify|{fingerprint}|{seed}".encode()).hexdigest()[:8]
