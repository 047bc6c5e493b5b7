"""What an operator may do: registry, provisioning and audit, put together.

Each act may be asked for again after a failure, a crash or a cancellation at any
point: what was done is kept, and the rest is taken up. What was refused is written
into the audit too.
"""

from dataclasses import dataclass, replace

from admin.across import Across
from admin.admin_keys import AdminKeyActs
from admin.advising import Advising
from admin.contexts import Contexts
from admin.deleting import Deleting
from admin.dsn import Dsn, is_same_address, read_dsn
from admin.levels import Levels
from admin.moves import Moving
from admin.orders import Ordering
from admin.owning import Owning
from admin.replicas import Replicas
from admin.usage import Billing
from fleet.access import ClusterAccess, access_of
from fleet.application import Applied
from fleet.fence import FenceState
from fleet.identity import recognize
from fleet.provision import Provisioner
from registry.differences import differences
from registry.errors import BadCluster, ClusterExists, UnknownCluster, UnknownTenant, WrongState
from registry.placement import Placement, TenantState
from registry.records import Cluster, PlaceState, Tenant
from registry.rows.clusters import SHARED_LOGIN
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class ClusterAdded:
    """A cluster that is ready for tenants.

    Attributes:
        open_databases: Other databases on that server which any login may still enter.
        made_anew: The schema of the shared tables, if it was gone and is empty now.
    """

    cluster: Cluster
    open_databases: tuple[str, ...]
    made_anew: str | None


@dataclass(frozen=True, slots=True)
class TenantCreated:
    """A tenant that is served.

    Attributes:
        was_there: Whether it was served already; then its place was mended only.
    """

    tenant: Tenant
    was_there: bool


@dataclass(frozen=True, slots=True)
class Suspended:
    """A tenant that is refused from now on.

    Attributes:
        is_drained: Whether what began before is over, too.
    """

    tenant: Tenant
    is_drained: bool


class Operations(Deleting, Owning, Contexts, Replicas, Advising, AdminKeyActs, Billing):
    """Acts of operators.

    Every method may raise `RegistryUnavailable` and `RegistryFailed`; those that reach a cluster
    `ClusterUnreachable`, `ProvisioningTimeout` and the other errors of `fleet.provision`.

    Args:
        application_schema: Where the application's tables lie on the standard and government tiers.
    """

    def __init__(self, store: Store, provisioner: Provisioner, application_schema: str) -> None:
        super().__init__(store)
        self.across = Across(store, frozenset({"public", application_schema}))
        self.ordering = Ordering(store)
        self.levels = Levels(store)
        self.moving = Moving(store, provisioner.application, application_schema)
        self._provisioner = provisioner
        self._schema = application_schema

    def let_run(self, full_sql: frozenset[Tier]) -> None:
        """Make places of these tiers such that all of SQL can be run in them, from now on."""
        self._provisioner.full_sql = full_sql

    async def add_cluster(
        self, name: str, tier: Tier, dsn: str, *, region: str | None, actor: str, deadline: Deadline
    ) -> ClusterAdded:
        """Take a cluster in and make it ready for tenants of *tier*.

        Asked again with the same address it makes ready what is not, and mends what went missing on the
        server since; a new login or password of the administrator is taken over.

        Raises:
            BadCluster: The DSN is not understood.
            ClusterExists: The name stands for another cluster.
            ClusterTaken: The database is another cluster's, or another registry's; nothing was changed.
        """
        target = read_dsn(dsn)
        async with self._witnessed(actor, "cluster.add", name):
            known = await self._known(name, tier, region, target)
            access = await self._access(name, target)
            gate = SHARED_LOGIN if tier is Tier.STANDARD else None
            # The server comes first: one that cannot be used never gets into the registry.
            prepared = await self._provisioner.prepare_cluster(access, tier, deadline, gate=gate)
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
            made_anew = await self._prepare_shared(added, actor=actor, deadline=deadline, mends=True)
            return ClusterAdded(added, prepared.open_databases, made_anew)

    async def set_address(self, name: str, dsn: str, *, actor: str, deadline: Deadline) -> Cluster:
        """The same cluster answers elsewhere from now on, or to another administrator.

        What answers there is asked first whether it is that cluster; nothing on it is changed.

        Raises:
            BadCluster: The DSN is not understood, or names another database.
            UnknownCluster: There is none of that name.
            WrongServer, ClusterTaken: What answers there is not that cluster.
        """
        target = read_dsn(dsn)
        async with self._witnessed(actor, "cluster.set-address", name):
            known = await self._store.cluster(name)
            if target.database != known.database:
                raise BadCluster(f"the DSN must give database {known.database!r}, which cannot change")
            await recognize(await self._access(name, target), deadline)
            return await self._store.set_cluster_address(
                name,
                conninfo=target.conninfo,
                admin_user=target.user,
                admin_password=target.password,
                actor=actor,
            )

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
    ) -> TenantCreated:
        """Take a tenant in, make its place, and serve it. Again it mends the place.

        Raises:
            TenantExists: The name stands for another tenant, or for a suspended one.
            UnknownCluster, WrongTier, ResidencyViolated, NoCluster: There is nowhere to put it.
        """
        async with self._witnessed(actor, "tenant.create", name):
            placement = await self._store.create_tenant(
                name, tier, application_schema=self._schema, actor=actor, region=region, cluster=cluster
            )
            home = await self._store.cluster(placement.place.cluster)
            if placement.state is TenantState.ACTIVE:
                await self._provisioner.create(access_of(home), placement, deadline)
                return TenantCreated(await self._store.tenant(name), was_there=True)
            await self._prepare_shared(home, actor=actor, deadline=deadline)
            await self._provisioner.create(access_of(home), placement, deadline)
            if tier is not Tier.STANDARD:
                await self._store.mark_place_ready(placement.place.id, actor=actor)
            await self._store.activate(name, actor=actor)
            return TenantCreated(await self._store.tenant(name), was_there=False)

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
        differs = differences(
            ("tier", known.tier, tier), ("region", known.region, region),
            ("database", known.database, target.database),
        )  # fmt: skip
        if not differs and not is_same_address(known.conninfo, target.conninfo):
            differs = f"its address is {known.conninfo}, not {target.conninfo}"
        if differs:
            raise ClusterExists(name, differs)
        return known

    async def _prepare_shared(
        self, cluster: Cluster, *, actor: str, deadline: Deadline, mends: bool = False
    ) -> str | None:
        """Make the place that a standard cluster's tenants share, unless it is made.

        Args:
            mends: Look at one that is made, too, and put back what is missing.

        Returns:
            The schema, if it was gone and was made anew.
        """
        made_anew = None
        for shared in await self._store.places(cluster.name) if cluster.tier is Tier.STANDARD else ():
            if mends or shared.state is PlaceState.PREPARING:
                access = replace(access_of(cluster), registry=await self._store.fingerprint())
                prepared = await self._provisioner.prepare_cluster(
                    access, cluster.tier, deadline, shared=shared.place
                )
                await self._store.mark_place_ready(shared.place.id, actor=actor)
                if prepared.applied is Applied.MADE_ANEW:
                    made_anew = shared.place.schema
        return made_anew

    async def _access(self, name: str, target: Dsn) -> ClusterAccess:
        """The way to a cluster as an operator gave it, in the name of this registry."""
        registry = await self._store.fingerprint()
        return ClusterAccess(name, target.conninfo, target.database, target.user, target.password, registry)

    async def _made(self, name: TenantId, wanted: str) -> tuple[Placement, ClusterAccess]:
        """Where a tenant lives whose place is made."""
        placement = await self._store.route(name)
        if placement is None:
            raise UnknownTenant(name)
        if placement.state in {TenantState.CREATING, TenantState.DELETING}:
            raise WrongState(f"tenant {name!r}", placement.state, wanted)
        return placement, await self.access(placement.place.cluster)
