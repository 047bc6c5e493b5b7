"""How tenants and clusters go, with all that they had."""

from admin.keys import Keys
from fleet.access import access_of
from fleet.removal import remove
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId


class Deleting(Keys):
    """Acts that have no way back."""

    async def delete_tenant(
        self, name: TenantId, *, actor: str, deadline: Deadline, forgets: bool = False
    ) -> None:
        """Refuse the tenant for good, remove its rows and its place, then its name and its keys.

        Args:
            forgets: For a throwaway: it may be served still, and leaves no fence behind, since its name is
                never used again.

        Raises:
            UnknownTenant: There is none of that name.
            TenantServed: It is not suspended.
            FenceConflict: See fleet/removal.py; nothing was removed.
            ProvisioningTimeout: What is left is removed when it is asked for again.
        """
        async with self._witnessed(actor, "tenant.delete", name):
            placement = await self._store.begin_deletion(name, actor=actor, even_served=forgets)
            home = await self._store.cluster(placement.place.cluster)
            # The registry last: as long as it knows of the tenant, the rest can be asked for again.
            await remove(access_of(home), placement, deadline, forgets=forgets)
            await self._store.delete_tenant(name, placement.epoch, actor=actor)

    async def remove_cluster(self, name: str, *, actor: str) -> None:
        """Forget a cluster without tenants. Its server is not asked: it may be gone.

        Raises:
            UnknownCluster: There is none of that name.
            ClusterInUse: It has tenants.
        """
        async with self._witnessed(actor, "cluster.remove", name):
            await self._store.remove_cluster(name, actor=actor)
