"""What an operator may set for one tenant alone."""

from admin.acting import Acting
from registry.records import Own, Tenant
from tiergate.tenant import TenantId


class Owning(Acting):
    """Acts on tenants' own limits."""

    async def set_own(self, name: TenantId, own: Own, *, actor: str) -> Tenant:
        """Change what *own* says; every gateway goes by it at once. Again is no harm.

        Raises:
            UnknownTenant: There is none of that name.
        """
        async with self._witnessed(actor, "tenant.set", name):
            return await self._store.set_own(name, own, actor=actor)
