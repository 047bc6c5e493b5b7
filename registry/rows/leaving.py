"""How tenants and clusters leave the registry."""

from sqlalchemy import delete, func, or_, select

from registry.errors import ClusterInUse, TenantServed, UnknownCluster, UnknownTenant
from registry.placement import Placement, TenantState
from registry.records import Entry
from registry.rows.asking import row, rows, tell
from registry.rows.moves import OPEN, refuse_moving
from registry.rows.tenants import Tenants, enter_state, locked_state
from registry.tables import CLUSTER, CREDENTIAL, DATA_DATABASE, MOVE, PLACE, PLACEMENT, REPLICA, TENANT
from tiergate.tenant import TenantId, Tier


class Leaving(Tenants):
    """Tenants and clusters that are no more."""

    async def begin_deletion(self, name: TenantId, *, actor: str, even_served: bool = False) -> Placement:
        """Let nobody serve the tenant or take it up again; where it is. Again is no harm.

        Raises:
            UnknownTenant: There is none.
            TenantServed: It is active, and not to be deleted *even_served*.
            MoveOpen: It is being moved.
        """
        async with self._changing() as connection:
            state = await locked_state(connection, name)
            await refuse_moving(connection, name)
            if state is TenantState.ACTIVE and not even_served:
                raise TenantServed(name)
            if state is not TenantState.DELETING:
                await enter_state(connection, name, TenantState.DELETING)
                await self._write_down(connection, Entry(actor, "tenant.delete", name, outcome="begun"))
            return await self._placed(connection, name)

    async def delete_tenant(self, name: TenantId, epoch: int, *, actor: str) -> None:
        """Forget a tenant whose place is gone, with its keys and with a place that was its own.

        Raises:
            UnknownTenant: There is none, or it is another one of that name, placed later than *epoch*.
        """
        placed = (
            select(TENANT.c.name, PLACE.c.id, PLACE.c.tier, PLACE.c.cluster, PLACE.c.database)
            .select_from(TENANT.join(PLACEMENT, PLACEMENT.c.tenant == TENANT.c.name).join(PLACE))
            .where(TENANT.c.name == name, PLACEMENT.c.epoch == epoch)
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

    async def remove_cluster(self, name: str, *, actor: str) -> None:
        """Forget a cluster, with its replicas, the databases and the place that nobody has there.

        Raises:
            UnknownCluster: There is none.
            ClusterInUse: It has tenants, or one is on its way there or from there.
        """
        ends = or_(MOVE.c.source_cluster == name, MOVE.c.target_cluster == name)
        moving = select(func.count()).select_from(MOVE).where(OPEN, ends)
        known = select(CLUSTER.c.tier, CLUSTER.c.region).where(CLUSTER.c.name == name)
        placed = select(func.count()).select_from(PLACEMENT.join(PLACE)).where(PLACE.c.cluster == name)
        async with self._changing() as connection:
            # Who places a tenant holds on to the cluster: it waits for us, or we for it, and then count it.
            found = await row(connection, known.with_for_update())
            if found is None:
                raise UnknownCluster(name)
            tenants, moves = [(await connection.execute(each)).scalar_one() for each in (placed, moving)]
            if tenants or moves:
                raise ClusterInUse(name, tenants, moves)
            await connection.execute(delete(PLACE).where(PLACE.c.cluster == name))
            await connection.execute(delete(DATA_DATABASE).where(DATA_DATABASE.c.cluster == name))
            await connection.execute(delete(REPLICA).where(REPLICA.c.cluster == name))
            await connection.execute(delete(CLUSTER).where(CLUSTER.c.name == name))
            await tell(connection, all=True)
            detail = {"tier": found["tier"], "region": found["region"]}
            await self._write_down(connection, Entry(actor, "cluster.remove", name, detail=detail))
