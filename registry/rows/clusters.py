"""Clusters and the places in them."""

import json
import secrets
from base64 import b32encode
from dataclasses import dataclass

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import RowMapping, Select, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.differences import differences
from registry.errors import BadCluster, ClusterExists, UnknownCluster, UnknownPlace
from registry.placement import PlaceId
from registry.records import Cluster, Entry, KnownPlace, PlaceState
from registry.rows.asking import Asking, row, rows, tell
from registry.rows.places import PLACE_COLUMNS, PLACES, place_of
from registry.rows.replicas import REPLICAS, replicas_of
from registry.tables import CLUSTER, DATA_DATABASE, PLACE, PLACEMENT
from registry.vault import Vault
from tiergate.tenant import Tier, tenant_id

SHARED_LOGIN = "tiergate_gate"


@dataclass(frozen=True, slots=True)
class NewPlace:
    """Where a place will be, before it is made."""

    id: PlaceId
    cluster: str
    tier: Tier
    database: str
    schema: str
    login: str


class Clusters(Asking):
    """The clusters that an operator has given us, and the places made there."""

    async def clusters(self) -> list[Cluster]:
        """All of them, by name."""
        async with self._reading() as connection:
            return [self._cluster(found) for found in await rows(connection, _clusters())]

    async def cluster(self, name: str) -> Cluster:
        """The cluster of that name.

        Raises:
            UnknownCluster: There is none.
        """
        async with self._reading() as connection:
            found = await row(connection, _clusters().where(CLUSTER.c.name == name))
        if found is None:
            raise UnknownCluster(name)
        return self._cluster(found)

    async def add_cluster(
        self,
        name: str,
        tier: Tier,
        *,
        conninfo: str,
        database: str,
        admin_user: str,
        admin_password: str,
        application_schema: str,
        actor: str,
        region: str | None = None,
    ) -> Cluster:
        """Take a cluster in; on the standard tier with the place that its tenants share, still to be made.

        Asked again with the same tier, region and database it changes nothing, so that an
        interrupted preparation can go on.

        Args:
            conninfo: libpq keywords for host, port and TLS.
            application_schema: Where the application's tables lie on the standard tier.

        Raises:
            BadCluster: The name is no DNS label, or *conninfo* is not understood or says too much.
            ClusterExists: The name stands for another cluster.
        """
        _check(name, conninfo, database)
        async with self._changing() as connection:
            values = {
                "name": name,
                "tier": tier,
                "region": region,
                "conninfo": conninfo,
                "database": database,
                "admin_secret": self._sealed_admin(admin_user, admin_password),
            }
            added = await row(
                connection, upsert(CLUSTER).values(values).on_conflict_do_nothing().returning(CLUSTER.c.name)
            )
            found = await row(connection, _clusters().where(CLUSTER.c.name == name))
            if found is None:
                raise UnknownCluster(name)
            if differs := differences(
                ("tier", found["tier"], tier), ("region", found["region"], region),
                ("database", found["database"], database),
            ):  # fmt: skip
                raise ClusterExists(name, differs)
            if added is not None:
                await self._add_databases(connection, name, tier, database, application_schema)
                detail = {"tier": tier, "region": region}
                await self._write_down(connection, Entry(actor, "cluster.add", name, detail=detail))
                await tell(connection, all=True)
        return self._cluster(found)

    async def set_cluster_address(
        self, name: str, *, conninfo: str, admin_user: str, admin_password: str, actor: str
    ) -> Cluster:
        """The same cluster answers elsewhere now, or to another administrator.

        Raises:
            UnknownCluster, BadCluster: As above.
        """
        _check(name, conninfo, "unchanged")
        async with self._changing() as connection:
            await connection.execute(
                update(CLUSTER)
                .where(CLUSTER.c.name == name)
                .values(conninfo=conninfo, admin_secret=self._sealed_admin(admin_user, admin_password))
            )
            found = await row(connection, _clusters().where(CLUSTER.c.name == name))
            if found is None:
                raise UnknownCluster(name)
            await self._write_down(connection, Entry(actor, "cluster.set-address", name))
            await tell(connection, all=True)
        return self._cluster(found)

    async def place(self, place: PlaceId) -> KnownPlace:
        """The place of that id.

        Raises:
            UnknownPlace: There is none.
        """
        async with self._reading() as connection:
            found = await row(connection, _places().where(PLACE.c.id == place))
        if found is None:
            raise UnknownPlace(place)
        return self._known_place(found)

    async def places(self, cluster: str) -> list[KnownPlace]:
        """Every place on *cluster*, oldest first; on a standard cluster the one that its tenants share."""
        ordered = _places().where(PLACE.c.cluster == cluster).order_by(PLACE.c.created_at, PLACE.c.id)
        async with self._reading() as connection:
            return [self._known_place(found) for found in await rows(connection, ordered)]

    async def mark_place_ready(self, place: PlaceId, *, actor: str) -> None:
        """The place's schema, login and grants are made: it may take tenants. Again is no harm.

        Raises:
            UnknownPlace: There is none.
        """
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(PLACE)
                .where(PLACE.c.id == place, PLACE.c.state != PlaceState.READY)
                .values(state=PlaceState.READY)
                .returning(PLACE.c.tier),
            )
            if changed is None:
                if await row(connection, select(PLACE.c.id).where(PLACE.c.id == place)) is None:
                    raise UnknownPlace(place)
                return
            await self._write_down(connection, Entry(actor, "place.ready", place))
            if changed["tier"] == Tier.STANDARD:
                await tell(connection, all=True)
            else:
                for placed in await rows(connection, select(PLACEMENT).where(PLACEMENT.c.place == place)):
                    await tell(connection, tenant=placed["tenant"])

    async def _add_databases(
        self, connection: AsyncConnection, name: str, tier: Tier, database: str, schema: str
    ) -> None:
        if tier is Tier.GOVERNMENT:
            return  # each tenant brings a database of its own
        await connection.execute(insert(DATA_DATABASE).values(cluster=name, database=database))
        if tier is Tier.STANDARD:
            shared = NewPlace(new_place_id(), name, tier, database, schema, SHARED_LOGIN)
            await add_place(connection, self._vault, shared)

    def _sealed_admin(self, user: str, password: str) -> str:
        return self._vault.seal(json.dumps({"user": user, "password": password}))

    def _cluster(self, found: RowMapping) -> Cluster:
        admin = json.loads(self._vault.open(found["admin_secret"]))
        return Cluster(
            name=found["name"],
            tier=Tier(found["tier"]),
            region=found["region"],
            conninfo=found["conninfo"],
            database=found["database"],
            admin_user=admin["user"],
            admin_password=admin["password"],
            created_at=found["created_at"],
            tenants=found["tenants"],
            pgbouncer=found["pgbouncer"],
            pgbouncer_prepares=found["pgbouncer_prepares"],
            replicas=replicas_of(found),
        )

    def _known_place(self, found: RowMapping) -> KnownPlace:
        return KnownPlace(place_of(found, self._vault), PlaceState(found["place_state"]))


def new_place_id() -> PlaceId:
    """An id that no place had before: 60 random bits."""
    return PlaceId("pl_" + b32encode(secrets.token_bytes(8)).decode().lower()[:12])


async def add_place(connection: AsyncConnection, vault: Vault, place: NewPlace) -> None:
    """Write a place down, with a password of its own, still to be made."""
    await connection.execute(
        insert(PLACE).values(
            id=place.id,
            cluster=place.cluster,
            tier=place.tier,
            database=place.database,
            schema=place.schema,
            login=place.login,
            login_secret=vault.seal(vault.new_password()),
            state=PlaceState.PREPARING,
        )
    )


def _clusters() -> Select[tuple[object, ...]]:
    placed = (
        select(func.count())
        .select_from(PLACEMENT.join(PLACE, PLACEMENT.c.place == PLACE.c.id))
        .where(PLACE.c.cluster == CLUSTER.c.name)
        .scalar_subquery()
    )
    return select(CLUSTER, REPLICAS, placed.label("tenants")).order_by(CLUSTER.c.name)


def _places() -> Select[tuple[object, ...]]:
    return select(*PLACE_COLUMNS).select_from(PLACES)


def _check(name: str, conninfo: str, database: str) -> None:
    if tenant_id(name) is None:
        raise BadCluster(f"{name!r} cannot name a cluster")
    if not database:
        raise BadCluster(f"cluster {name!r} needs a database to log in to")
    try:
        keywords = conninfo_to_dict(conninfo)
    except ProgrammingError as error:
        raise BadCluster(f"the conninfo of cluster {name!r} is not understood") from error
    if extra := keywords.keys() & {"user", "password", "dbname"}:
        raise BadCluster(f"the conninfo of cluster {name!r} must not give {', '.join(sorted(extra))}")
