"""How a tenant leaves the registry."""

from sqlalchemy import delete, select

from registry.errors import UnknownTenant
from registry.records import Entry
from registry.rows.asking import row, rows, tell
from registry.rows.tenants import Tenants
from registry.tables import CREDENTIAL, DATA_DATABASE, PLACE, PLACEMENT, TENANT
from tiergate.tenant import TenantId, Tier


class Leaving(Tenants):
    """Tenants that are no more."""

    async def delete_tenant(self, name: TenantId, *, actor: str) -> None:
        """Forget a tenant whose place is gone, with its keys and with a place that was its own.

        Raises:
            UnknownTenant: There is none.
        """
        placed = (
            select(TENANT.c.name, PLACE.c.id, PLACE.c.tier, PLACE.c.cluster, PLACE.c.database)
            .select_from(TENANT.join(PLACEMENT, PLACEMENT.c.tenant == TENANT.c.name).join(PLACE))
            .where(TENANT.c.name == name)
            .with_for_update(of=TENANT)
        )
        async with self._changing() as connection:
            found = await row(connection, placed)
            if found is None:
                raise UnknownTenant(name)
            for key in await rows(connection, select(CREDENTIAL.c.id).where(CREDENTIAL.c.tenant == name)):
                await tell(connection, credential=key["id"])
            await connection.execute(delete(TENANT).where(TENANT.c.name == name))
            if found["tier"] != Tier.STANDARD:
                await connection.execute(delete(PLACE).where(PLACE.c.id == found["id"]))
            if found["tier"] == Tier.GOVERNMENT:
                there = (
                    DATA_DATABASE.c.cluster == found["cluster"],
                    DATA_DATABASE.c.database == found["database"],
                )
                await connection.execute(delete(DATA_DATABASE).where(*there))
            await tell(connection, tenant=name)
            detail = {"cluster": found["cluster"], "place": found["id"]}
            await self._write_down(connection, Entry(actor, "tenant.delete", name, detail=detail))
