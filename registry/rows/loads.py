"""What is known of tenants and places when it is asked who should live apart."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select

from observe.busiest import Load
from registry.load import read_load
from registry.orders import SILENT_S
from registry.placement import PlaceId
from registry.records import PlaceState, Tenant
from registry.rows.asking import rows
from registry.rows.processes import SILENCE_S, Processes
from registry.rows.tenants import Tenants, all_tenants, tenant_of
from registry.tables import GATEWAY_PROCESS, PLACE, TENANT


@dataclass(frozen=True, slots=True)
class Site:
    """Where rows lie, without what opens it."""

    place: PlaceId
    cluster: str
    database: str
    schema: str


@dataclass(frozen=True, slots=True)
class Told:
    """What processes have told.

    Attributes:
        loads: Of those that were heard of lately.
        untold: How many were not, or tell nothing.
    """

    loads: tuple[Load, ...]
    untold: int


class Loads(Processes, Tenants):
    """Whom processes work for, and where those live."""

    async def loads(self) -> Told:
        """What each process has done lately."""
        told = select(
            GATEWAY_PROCESS.c.holdings["load"].label("load"), (SILENCE_S > SILENT_S).label("is_silent")
        )
        async with self._reading() as connection:
            found = await rows(connection, told)
        loads = tuple(read_load(each["load"]) for each in found if each["load"] and not each["is_silent"])
        return Told(loads, len(found) - len(loads))

    async def sites(self, clusters: Collection[str]) -> list[Site]:
        """Every place that is made on these clusters."""
        made = select(PLACE.c.id, PLACE.c.cluster, PLACE.c.database, PLACE.c.schema).where(
            PLACE.c.cluster.in_(clusters), PLACE.c.state == PlaceState.READY
        )
        async with self._reading() as connection:
            found = await rows(connection, made.order_by(PLACE.c.cluster, PLACE.c.created_at, PLACE.c.id))
        return [
            Site(PlaceId(each["id"]), each["cluster"], each["database"], each["schema"]) for each in found
        ]

    async def housed(self, names: Collection[str], places: Collection[PlaceId]) -> list[Tenant]:
        """The tenants of these names, those whose place is one of these, and those that must live apart."""
        wanted = all_tenants().where(
            or_(TENANT.c.name.in_(names), PLACE.c.id.in_(places), TENANT.c.compliance.is_not(None))
        )
        async with self._reading() as connection:
            return [tenant_of(found) for found in await rows(connection, wanted.order_by(TENANT.c.name))]
