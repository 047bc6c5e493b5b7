"""What an operator sets for one tenant alone."""

from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import distinct_on

from registry.errors import UnknownTenant
from registry.placement import Placement, TenantState
from registry.records import Entry, Own, PlaceState, Tenant
from registry.rows.asking import row, rows, tell
from registry.rows.tenants import ROUTES, Tenants, all_tenants, tenant_of
from registry.tables import PLACE, TENANT
from tiergate.tenant import TenantId


class OwnOfTenants(Tenants):
    """Tenants' own limits, and which of them are kept warm."""

    async def set_own(self, name: TenantId, own: Own, *, actor: str) -> Tenant:
        """Change what *own* says, and nothing else. Again is no harm.

        Raises:
            UnknownTenant: There is none.
        """
        known = all_tenants().where(TENANT.c.name == name)
        async with self._changing() as connection:
            found = await row(connection, known.with_for_update(of=TENANT))
            if found is None:
                raise UnknownTenant(name)
            asked: Mapping[str, object] = own
            changed = {column: value for column, value in asked.items() if found[column] != value}
            if not changed:
                return tenant_of(found)
            await connection.execute(update(TENANT).where(TENANT.c.name == name).values(changed))
            await tell(connection, tenant=name)
            detail = {
                column: {"was": _whole(found[column]), "is": _whole(value)}
                for column, value in changed.items()
            }
            after = await row(connection, known)
            await self._write_down(connection, Entry(actor, "tenant.set", name, detail=detail))
        if after is None:
            raise UnknownTenant(name)
        return tenant_of(after)

    async def warm(self) -> list[Placement]:
        """Where warm tenants live that are served: one placement for each place."""
        served = (TENANT.c.warm, TENANT.c.state == TenantState.ACTIVE, PLACE.c.state == PlaceState.READY)
        each = ROUTES.where(*served).ext(distinct_on(PLACE.c.id)).order_by(PLACE.c.id, TENANT.c.name)
        async with self._reading() as connection:
            return [self._placement(found) for found in await rows(connection, each)]


def _whole(value: object) -> object:
    """As the audit may hold it: fractions as text."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else str(value)
