"""Makes the place of a tenant, on any tier, and opens or closes its fence.

Whatever is killed at any step is completed by the same call again. The registry writes down the
placement before, and calls the tenant active after; nothing here knows of the registry.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from fleet import roles
from fleet.access import FLEET_LOCKS, ClusterAccess, Connection, bounded, open_admin
from fleet.application import ApplicationSql, Applied, apply
from fleet.cluster import lay_data_plane, lock, prepare, put_context_key
from fleet.fence import FenceChange, FenceState, change_fence, insert_fence
from fleet.identifier import quote_identifier
from fleet.identity import refuse_shared_gate
from fleet.own import close_own_schema, open_own_schema, own_schema
from registry.placement import Place, Placement
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

_LetIn: TypeAlias = Callable[[Connection, Placement], Awaitable[None]]


async def _always() -> None:
    """Forbids nothing."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A cluster that is ready for tenants.

    Attributes:
        open_databases: Other databases of that server that any login of ours may connect to.
        applied: What became of the shared tables; None where there are none.
    """

    open_databases: tuple[str, ...]
    applied: Applied | None = None


class Provisioner:
    """Makes places of one application.

    All methods raise ClusterUnreachable, NotSuperuser, ClusterUnfit, ProvisioningTimeout or
    ProvisioningFailed, besides what they name.
    """

    def __init__(self, application: ApplicationSql, full_sql: frozenset[Tier] = frozenset()) -> None:
        """*full_sql* are the tiers whose tenants may run all of SQL, and so make things of their own."""
        self.application = application
        self.full_sql = full_sql

    async def prepare_cluster(
        self,
        cluster: ClusterAccess,
        tier: Tier,
        deadline: Deadline,
        *,
        shared: Place | None = None,
        gate: str | None = None,
    ) -> Prepared:
        """Make a cluster ready for tenants of *tier*, or mend what went missing since.

        Args:
            shared: The place that all tenants of a standard cluster share; none on other tiers.
            gate: The login of that place, when the place itself is not known yet.

        Raises:
            ClusterTaken: It is another cluster's; nothing was changed.
            ContextKeyConflict, ApplicationInvalid, ApplicationChanged, PlaceTaken: See fleet/errors.py.
        """
        gate = shared.login if shared is not None else gate
        others = await prepare(cluster, tier, deadline, gate=gate)
        if shared is None:
            return Prepared(others)
        async with (
            bounded(cluster, "make the shared tables", deadline),
            open_admin(cluster, shared.database, deadline) as admin,
        ):
            return Prepared(others, await self._make_shared(cluster, admin, shared))

    async def create(self, cluster: ClusterAccess, placement: Placement, deadline: Deadline) -> None:
        """Make the tenant's place, where it does not share one, and let the tenant in.

        The cluster has been prepared. Done already, it changes nothing; a suspended tenant stays so.

        Raises:
            FenceConflict, ContextKeyConflict, ApplicationInvalid, ApplicationChanged, PlaceTaken:
                See fleet/errors.py.
        """
        async with bounded(cluster, f"make place {placement.place.id}", deadline):
            await self._make(cluster, placement, insert_fence, deadline)

    async def make_place(
        self,
        cluster: ClusterAccess,
        placement: Placement,
        deadline: Deadline,
        *,
        allowed: Callable[[], Awaitable[None]] = _always,
    ) -> None:
        """Make the tenant's place, where it does not share one, and let nobody in.

        Args:
            allowed: Raises what forbids it. Asked when nobody else can make or remove the place any more:
                so what is made by one that stood still meanwhile is found by who removes it, or not made.

        Raises:
            ContextKeyConflict, ApplicationInvalid, ApplicationChanged, PlaceTaken: See fleet/errors.py.
        """
        async with bounded(cluster, f"make place {placement.place.id}", deadline):
            await self._make(cluster, placement, _let_nobody_in, deadline, allowed)

    async def _make(
        self,
        cluster: ClusterAccess,
        placement: Placement,
        let_in: _LetIn,
        deadline: Deadline,
        allowed: Callable[[], Awaitable[None]] = _always,
    ) -> None:
        database = cluster.database if placement.tier is Tier.GOVERNMENT else placement.place.database
        async with open_admin(cluster, database, deadline) as admin:
            match placement.tier:
                case Tier.STANDARD:
                    await let_in(admin, placement)
                case Tier.PREMIUM:
                    await self._make_schema(cluster, admin, placement, let_in, allowed)
                case Tier.GOVERNMENT:
                    await self._make_database(cluster, admin, placement, let_in, deadline, allowed)
                case _:
                    assert_never(placement.tier)

    async def set_fence(
        self,
        cluster: ClusterAccess,
        placement: Placement,
        state: FenceState,
        deadline: Deadline,
        *,
        drain_s: float = 1.0,
    ) -> FenceChange:
        """Suspend a tenant, make it read-only, or open it again; new transactions meet it at once.

        Args:
            drain_s: How long to wait for transactions that began before, within the deadline.

        Returns:
            What was, what is, and whether the earlier transactions are over.

        Raises:
            FenceConflict: The fence is not this placement's, or a move holds it.
        """
        async with (
            bounded(cluster, f"set the fence of tenant {placement.tenant}", deadline),
            open_admin(cluster, placement.place.database, deadline) as admin,
        ):
            # Half of what is left: the answer must be out before the deadline.
            drain_ms = max(1, int(1000 * min(drain_s, deadline.left_s() / 2)))
            return await change_fence(admin, placement, state, drain_ms)

    async def _make_shared(self, cluster: ClusterAccess, admin: Connection, place: Place) -> Applied:
        async with admin.transaction():
            await roles.lock_server(admin)
            await refuse_shared_gate(admin, cluster, place.login)
            await put_context_key(admin, cluster.name, place)
            login = roles.Login(place.login, place.password, roles.APP, inherits=False)
            await roles.put_login(admin, cluster.name, login)
            await roles.put_session(admin, place.login, place.database, place.schema)
            await roles.admit(admin, place.database, place.login)
            await roles.let_ask(admin, roles.APP)
            await admin.execute(
                "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean)"
                f" TO {quote_identifier(place.login)}".encode()
            )
        async with admin.transaction():
            return await apply(admin, cluster, place.schema, self.application, roles.APP)

    async def _make_schema(
        self,
        cluster: ClusterAccess,
        admin: Connection,
        placement: Placement,
        let_in: _LetIn,
        allowed: Callable[[], Awaitable[None]],
    ) -> None:
        """A schema, its login and its fence in one transaction: there is no half of it."""
        place = placement.place
        async with admin.transaction():
            await lock(admin, f"place {place.id}")
            await allowed()
            login = roles.Login(place.login, place.password, roles.PREMIUM, inherits=True)
            await roles.put_login(admin, cluster.name, login)
            await roles.put_session(admin, place.login, place.database, *self._searched(place))
            await self._fill(cluster, admin, placement)
            await let_in(admin, placement)

    async def _make_database(
        self,
        cluster: ClusterAccess,
        admin: Connection,
        placement: Placement,
        let_in: _LetIn,
        deadline: Deadline,
        allowed: Callable[[], Awaitable[None]],
    ) -> None:
        """A login, then a database that lets nobody in until everything is in it."""
        place = placement.place
        # Held by the session, since CREATE DATABASE is in no transaction; gone with the connection.
        await admin.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (FLEET_LOCKS, f"place {place.id}"))
        await allowed()
        await roles.put_login(
            admin, cluster.name, roles.Login(place.login, place.password, None, inherits=False)
        )
        database = quote_identifier(place.database)
        cursor = await admin.execute(
            "SELECT datconnlimit FROM pg_database WHERE datname = %s", (place.database,)
        )
        if (row := await cursor.fetchone()) is None:
            # Superusers pass the limit of 0. template0: what somebody left in template1 is no tenant's.
            # The copy of 8 MB through the WAL needs no checkpoint, which on a busy cluster takes seconds.
            await admin.execute(
                f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' STRATEGY wal_log"
                " CONNECTION LIMIT 0".encode()
            )
        await roles.close_databases(admin, place.database)
        await roles.put_session(admin, place.login, place.database, *self._searched(place))
        async with open_admin(cluster, place.database, deadline) as inside:
            await lay_data_plane(inside)
            async with inside.transaction():
                await roles.admit(inside, place.database, place.login)
                await self._fill(cluster, inside, placement)
                await let_in(inside, placement)
        if row is None or row[0] == 0:
            await admin.execute(f"ALTER DATABASE {database} CONNECTION LIMIT -1".encode())

    def _searched(self, place: Place) -> tuple[str, ...]:
        """The schemas that names are looked up in; what is made goes into the first."""
        return (own_schema(place), place.schema) if place.tier in self.full_sql else (place.schema,)

    async def _fill(self, cluster: ClusterAccess, inside: Connection, placement: Placement) -> None:
        place = placement.place
        await put_context_key(inside, cluster.name, place)
        await apply(inside, cluster, place.schema, self.application, place.login)
        await (open_own_schema if place.tier in self.full_sql else close_own_schema)(inside, place)


async def _let_nobody_in(_connection: Connection, _placement: Placement) -> None:
    """A place that a move fills: its fence comes with the cut-over."""
