"""How a tenant is deleted, with all that it had."""

from admin.acting import access_of
from admin.keys import Keys
from fleet.removal import remove
from registry.errors import UnknownTenant
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId


class Deleting(Keys):
    """Acts that have no way back."""

    async def delete_tenant(
        self, name: TenantId, *, actor: str, deadline: Deadline, forgets: bool = False
    ) -> None:
        """Refuse the tenant for good, remove its rows and its place, then its name and its keys.

        Args:
            forgets: Leave no fence behind; only for a name that is never used again.

        Raises:
            UnknownTenant: There is none of that name.
            FenceConflict, ProvisioningTimeout: See fleet/removal.py; nothing was removed.
        """
        async with self._witnessed(actor, "tenant.delete", name):
            placement = await self._store.route(name)
            if placement is None:
                raise UnknownTenant(name)
            home = await self._store.cluster(placement.place.cluster)
            # The registry last: as long as it knows of the tenant, the rest can be asked for again.
            await remove(access_of(home), placement, deadline, forgets=forgets)
            await self._store.delete_tenant(name, actor=actor)
