"""Tenants, and where each of them is placed."""

from dataclasses import fields
from typing import Literal

from sqlalchemy import RowMapping, Select, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.differences import differences
from registry.errors import (
    TenantExists,
    UnknownTenant,
    WrongState,
)
from registry.placement import PlaceId, Placement, TenantLimits, TenantState
from registry.records import Entry, PlaceState, Tenant
from registry.rows.asking import row, rows, tell
from registry.rows.choosing import choose
from registry.rows.clusters import (
    Clusters,
    NewPlace,
    add_place,
    new_place_id,
)
from registry.rows.places import PLACE_COLUMNS, PLACES, place_of
from registry.tables import DATA_DATABASE, EPOCH, PLACE, PLACEMENT, TENANT
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

LIMITS = tuple(each.name for each in fields(TenantLimits))
_NONE = TenantLimits()

# Built once: SQLAlchemy then finds its compiled form, and asyncpg its prepared one, by identity.
ROUTES = select(
    TENANT.c.name,
    TENANT.c.tier,
    TENANT.c.region,
    TENANT.c.state,
    *(TENANT.c[name] for name in LIMITS),
    PLACEMENT.c.epoch,
    *PLACE_COLUMNS,
).select_from(
    TENANT.join(PLACEMENT, PLACEMENT.c.tenant == TENANT.c.name).join(PLACES, PLACEMENT.c.place == PLACE.c.id)
)
_ROUTE = ROUTES.where(TENANT.c.name == bindparam("tenant"))


class Tenants(Clusters):
    """Who is served, and from where."""

    async def route(self, tenant: TenantId, deadline: Deadline | None = None) -> Placement | None:
        """The tenant's placement, in one round trip; None when there is no such tenant."""
        async with self._reading(deadline) as connection:
            found = (await connection.execute(_ROUTE, {"tenant": tenant})).mappings().one_or_none()
        return self._placement(found) if found is not None else None

    async def tenants(self, *, limit: int = 1000, after: str = "", tier: Tier | None = None) -> list[Tenant]:
        """Tenants by name, from the first one after *after*."""
        statement = all_tenants().where(TENANT.c.name > after).order_by(TENANT.c.name).limit(limit)
        if tier is not None:
            statement = statement.where(TENANT.c.tier == tier)
        async with self._reading() as connection:
            return [tenant_of(found) for found in await rows(connection, statement)]

    async def tenant(self, name: TenantId) -> Tenant:
        """The tenant of that name.

        Raises:
            UnknownTenant: There is none.
        """
        async with self._reading() as connection:
            found = await row(connection, all_tenants().where(TENANT.c.name == name))
        if found is None:
            raise UnknownTenant(name)
        return tenant_of(found)

    async def create_tenant(
        self,
        name: TenantId,
        tier: Tier,
        *,
        application_schema: str,
        actor: str,
        region: str | None = None,
        cluster: str | None = None,
    ) -> Placement:
        """Take a tenant in and place it, in one transaction; its rows' place is still to be made.

        Asked again with the same tier, region and cluster, it answers with the same placement, so
        that an interrupted creation can go on; its state tells whether there is anything left to do.

        Args:
            application_schema: Where the application's tables lie in a government tenant's database.
            cluster: Where to; None for the one of that tier and region with the fewest tenants.

        Raises:
            TenantExists: The name stands for another tenant, or for a suspended one.
            UnknownCluster, WrongTier, ResidencyViolated: The cluster that was named may not take it.
            NoCluster: None was named, and there is none that may.
        """
        async with self._changing() as connection:
            added = await row(
                connection,
                upsert(TENANT)
                .values(name=name, tier=tier, region=region, state=TenantState.CREATING)
                .on_conflict_do_nothing()  # waits for a creation of the same name, and then sees it
                .returning(TENANT.c.name),
            )
            if added is None:
                return await self._resume(connection, name, tier, region, cluster)
            chosen = await choose(connection, tier, region, cluster)
            place = await self._make_room(connection, chosen, tier, application_schema)
            placement = {"tenant": name, "place": place, "epoch": EPOCH.next_value()}
            await connection.execute(insert(PLACEMENT).values(placement))
            detail = {"tier": tier, "region": region, "cluster": chosen["name"], "place": place}
            await self._write_down(connection, Entry(actor, "tenant.create", name, detail=detail))
            await tell(connection, tenant=name)
            return await self._placed(connection, name)

    async def activate(self, name: TenantId, *, actor: str) -> None:
        """The tenant's place is made: serve it. Again is no harm.

        Raises:
            UnknownTenant: There is none.
            WrongState: It is suspended or being deleted, or its place is not ready.
        """
        async with self._changing() as connection:
            state = await locked_state(connection, name)
            if state is TenantState.ACTIVE:
                return
            if state is not TenantState.CREATING:
                raise WrongState(f"tenant {name!r}", state, "active by being created")
            found = (await connection.execute(_ROUTE, {"tenant": name})).mappings().one()
            if found["place_state"] != PlaceState.READY:
                raise WrongState(f"place {found['place_id']!r}", found["place_state"], "a tenant's")
            await enter_state(connection, name, TenantState.ACTIVE)
            await self._write_down(connection, Entry(actor, "tenant.activate", name))

    async def set_state(
        self,
        name: TenantId,
        state: Literal[TenantState.ACTIVE, TenantState.SUSPENDED],
        *,
        actor: str,
    ) -> None:
        """Suspend or resume a tenant. Again is no harm.

        Raises:
            UnknownTenant: There is none.
            WrongState: It is still being created, or is being deleted.
        """
        async with self._changing() as connection:
            known = await locked_state(connection, name)
            if known in {TenantState.CREATING, TenantState.DELETING}:
                raise WrongState(f"tenant {name!r}", known, state)
            if known is state:
                return
            await enter_state(connection, name, state)
            act = "tenant.suspend" if state is TenantState.SUSPENDED else "tenant.resume"
            await self._write_down(connection, Entry(actor, act, name))

    async def _resume(
        self, connection: AsyncConnection, name: TenantId, tier: Tier, region: str | None, cluster: str | None
    ) -> Placement:
        placed = await self._placed(connection, name)
        where = placed.place.cluster
        if differs := differences(
            ("tier", placed.tier, tier),
            ("region", placed.region, region),
            ("cluster", where, cluster or where),
        ):
            raise TenantExists(name, differs)
        if placed.state in {TenantState.SUSPENDED, TenantState.DELETING}:
            raise TenantExists(name, f"it is {placed.state}")
        return placed

    async def _make_room(
        self, connection: AsyncConnection, cluster: RowMapping, tier: Tier, application_schema: str
    ) -> PlaceId:
        if tier is Tier.STANDARD:
            shared = select(PLACE.c.id).where(PLACE.c.cluster == cluster["name"], PLACE.c.tier == tier)
            return PlaceId((await connection.execute(shared)).scalar_one())
        place = new_place_id()
        database, schema = cluster["database"], str(place)
        if tier is Tier.GOVERNMENT:
            database, schema = place, application_schema
            await connection.execute(insert(DATA_DATABASE).values(cluster=cluster["name"], database=database))
        new = NewPlace(place, cluster["name"], tier, database, schema, login=place)
        await add_place(connection, self._vault, new)
        return place

    async def _placed(self, connection: AsyncConnection, name: TenantId) -> Placement:
        return self._placement((await connection.execute(_ROUTE, {"tenant": name})).mappings().one())

    def _placement(self, found: RowMapping) -> Placement:
        return Placement(
            tenant=TenantId(found["name"]),
            tier=Tier(found["tier"]),
            state=TenantState(found["state"]),
            place=place_of(found, self._vault),
            epoch=found["epoch"],
            region=found["region"],
            limits=_limits(found),
        )


async def locked_state(connection: AsyncConnection, name: TenantId) -> TenantState:
    """The tenant's state, which stays until the transaction ends.

    Raises:
        UnknownTenant: There is none.
    """
    locked = select(TENANT.c.state).where(TENANT.c.name == name).with_for_update()
    found = await row(connection, locked)
    if found is None:
        raise UnknownTenant(name)
    return TenantState(found["state"])


async def enter_state(connection: AsyncConnection, name: TenantId, state: TenantState) -> None:
    """Change the tenant's state, and tell every gateway."""
    await connection.execute(update(TENANT).where(TENANT.c.name == name).values(state=state))
    await tell(connection, tenant=name)


def all_tenants() -> Select[tuple[object, ...]]:
    """Tenants as operators see them; `tenant_of` reads a row of it."""
    placed = TENANT.join(PLACEMENT, PLACEMENT.c.tenant == TENANT.c.name)
    return select(TENANT, PLACEMENT.c.epoch, PLACEMENT.c.place, PLACE.c.cluster).select_from(
        placed.join(PLACE, PLACEMENT.c.place == PLACE.c.id)
    )


def tenant_of(found: RowMapping) -> Tenant:
    """One row of `all_tenants`."""
    return Tenant(
        name=TenantId(found["name"]),
        tier=Tier(found["tier"]),
        region=found["region"],
        state=TenantState(found["state"]),
        created_at=found["created_at"],
        cluster=found["cluster"],
        place=PlaceId(found["place"]),
        epoch=found["epoch"],
        limits=_limits(found),
        warm=found["warm"],
        compliance=found["compliance"],
    )


def _limits(found: RowMapping) -> TenantLimits:
    own = TenantLimits(**{name: found[name] for name in LIMITS})
    return own if own != _NONE else _NONE  # one for the many who have none of their own
