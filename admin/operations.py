"""What an operator may do: registry, provisioning and audit, put together.

Each act may be asked for again after a failure, a crash or a cancellation at any
point: what was done is kept, and the rest is taken up. What was refused is written
into the audit too.
"""

from dataclasses import dataclass

from admin.dsn import Dsn, is_same_address, read_dsn
from admin.keys import Keys
from fleet.access import ClusterAccess
from fleet.fence import FenceState
from fleet.provision import Provisioner
from registry.errors import ClusterExists, UnknownCluster, UnknownTenant, WrongState
from registry.placement import Placement, TenantState
from registry.records import Cluster, PlaceState, Tenant
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class ClusterAdded:
    """A cluster that is ready for tenants.

    Attributes:
        open_databases: Other databases on that server which any login may still enter.
    """

    cluster: Cluster
    open_databases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suspended:
    """A tenant that is refused from now on.

    Attributes:
        is_drained: Whether what began before is over, too.
    """

    tenant: Tenant
    is_drained: bool


class Operations(Keys):
    """Acts of operators.

    Every method may raise `RegistryUnavailable` and `RegistryFailed`; those that reach a cluster
    `ClusterUnreachable`, `ProvisioningTimeout` and the other errors of `fleet.provision`.

    Args:
        application_schema: Where the application's tables lie on the standard and government tiers.
    """

    def __init__(self, store: Store, provisioner: Provisioner, application_schema: str) -> None:
        super().__init__(store)
        self._provisioner = provisioner
        self._schema = application_schema

    async def add_cluster(
        self, name: str, tier: Tier, dsn: str, *, region: str | None, actor: str, deadline: Deadline
    ) -> ClusterAdded:
        """Take a cluster in and make it ready for tenants of *tier*.

        Asked again with the same address it makes ready what is not; a new login or password of the
        administrator is taken over.

        Raises:
            BadCluster: The DSN is not understood.
            ClusterExists: The name stands for another cluster.
        """
        target = read_dsn(dsn)
        async with self._witnessed(actor, "cluster.add", name):
            known = await self._known(name, tier, region, target)
            access = ClusterAccess(name, target.conninfo, target.database, target.user, target.password)
            # The server comes first: one that cannot be used never gets into the registry.
            others = await self._provisioner.prepare_cluster(access, tier, deadline)
            added = await self._store.add_cluster(
                name,
                tier,
                conninfo=target.conninfo,
                database=target.database,
                admin_user=target.user,
                admin_password=target.password,
                application_schema=self._schema,
                actor=actor,
                region=region,
            )
            if known is not None and (known.admin_user, known.admin_password) != (
                target.user,
                target.password,
            ):
                added = await self._store.set_cluster_address(
                    name,
                    conninfo=target.conninfo,
                    admin_user=target.user,
                    admin_password=target.password,
                    actor=actor,
                )
            await self._prepare_shared(added, actor=actor, deadline=deadline)
            return ClusterAdded(added, others)

    async def clusters(self) -> list[Cluster]:
        """All clusters, by name."""
        return await self._store.clusters()

    async def cluster(self, name: str) -> Cluster:
        """One cluster.

        Raises:
            UnknownCluster: There is none of that name.
        """
        return await self._store.cluster(name)

    async def create_tenant(
        self,
        name: TenantId,
        tier: Tier,
        *,
        region: str | None,
        cluster: str | None,
        actor: str,
        deadline: Deadline,
    ) -> Tenant:
        """Take a tenant in, make its place, and serve it.

        Raises:
            TenantExists: The name is taken.
            UnknownCluster, WrongTier, ResidencyViolated, NoCluster: There is nowhere to put it.
        """
        async with self._witnessed(actor, "tenant.create", name):
            placement = await self._store.create_tenant(
                name, tier, application_schema=self._schema, actor=actor, region=region, cluster=cluster
            )
            home = await self._store.cluster(placement.place.cluster)
            await self._prepare_shared(home, actor=actor, deadline=deadline)
            await self._provisioner.create(_access(home), placement, deadline)
            if tier is not Tier.STANDARD:
                await self._store.mark_place_ready(placement.place.id, actor=actor)
            await self._store.activate(name, actor=actor)
            return await self._store.tenant(name)

    async def tenants(self, *, limit: int, after: str = "", tier: Tier | None = None) -> list[Tenant]:
        """Tenants by name, from the first one after *after*."""
        return await self._store.tenants(limit=limit, after=after, tier=tier)

    async def tenant(self, name: TenantId) -> Tenant:
        """One tenant.

        Raises:
            UnknownTenant: There is none of that name.
        """
        return await self._store.tenant(name)

    async def suspend(self, name: TenantId, *, actor: str, deadline: Deadline) -> Suspended:
        """Refuse the tenant from now on, everywhere. Again is no harm.

        Raises:
            UnknownTenant: There is none of that name.
            WrongState: It is still being created.
        """
        async with self._witnessed(actor, "tenant.suspend", name):
            placement, access = await self._made(name, "suspended")
            # The fence first: it bites at once, whatever any gateway remembers.
            change = await self._provisioner.set_fence(access, placement, FenceState.SUSPENDED, deadline)
            await self._store.set_state(name, TenantState.SUSPENDED, actor=actor)
            return Suspended(await self._store.tenant(name), change.is_drained)

    async def resume(self, name: TenantId, *, actor: str, deadline: Deadline) -> Tenant:
        """Serve the tenant again. Again is no harm.

        Raises:
            UnknownTenant, WrongState: As above.
        """
        async with self._witnessed(actor, "tenant.resume", name):
            placement, access = await self._made(name, "resumed")
            await self._provisioner.set_fence(access, placement, FenceState.ACTIVE, deadline)
            await self._store.set_state(name, TenantState.ACTIVE, actor=actor)
            return await self._store.tenant(name)

    async def _known(self, name: str, tier: Tier, region: str | None, target: Dsn) -> Cluster | None:
        try:
            known = await self._store.cluster(name)
        except UnknownCluster:
            return None
        is_same = (known.tier, known.region, known.database) == (tier, region, target.database)
        if not is_same or not is_same_address(known.conninfo, target.conninfo):
            raise ClusterExists(name)
        return known

    async def _prepare_shared(self, cluster: Cluster, *, actor: str, deadline: Deadline) -> None:
        """Make the place that a standard cluster's tenants share, unless it is made."""
        if cluster.tier is not Tier.STANDARD:
            return
        for shared in await self._store.places(cluster.name):
            if shared.state is PlaceState.PREPARING:
                await self._provisioner.prepare_cluster(
                    _access(cluster), cluster.tier, deadline, shared=shared.place
                )
                await self._store.mark_place_ready(shared.place.id, actor=actor)

    async def _made(self, name: TenantId, wanted: str) -> tuple[Placement, ClusterAccess]:
        """Where a tenant lives whose place is made."""
        placement = await self._store.route(name)
        if placement is None:
            raise UnknownTenant(name)
        if placement.state is TenantState.CREATING:
            raise WrongState(f"tenant {name!r}", placement.state, wanted)
        return placement, _access(await self._store.cluster(placement.place.cluster))


def _access(cluster: Cluster) -> ClusterAccess:
    return ClusterAccess(
        cluster.name, cluster.conninfo, cluster.database, cluster.admin_user, cluster.admin_password
    )
