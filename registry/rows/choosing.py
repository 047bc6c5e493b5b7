"""Which cluster takes a new tenant."""

from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from registry.errors import NoCluster, ResidencyViolated, UnknownCluster, WrongTier
from registry.records import PlaceState
from registry.rows.asking import row
from registry.tables import CLUSTER, PLACE, PLACEMENT
from tiergate.tenant import Tier


async def choose(
    connection: AsyncConnection,
    tier: Tier,
    region: str | None,
    named: str | None,
    *,
    apart: str | None = None,
) -> RowMapping:
    """The cluster that a new tenant of *tier* goes to; nobody removes it until the transaction ends.

    Args:
        named: Where to, when the operator has said; else the one with the fewest tenants.
        apart: The one where it is, which is not chosen unless it is named.

    Raises:
        UnknownCluster, WrongTier, ResidencyViolated: The cluster that was named may not take it.
        NoCluster: None was named, and there is none that may.
    """
    if named is not None:
        found = await row(connection, _kept(select(CLUSTER).where(CLUSTER.c.name == named)))
        if found is None:
            raise UnknownCluster(named)
        if found["tier"] != tier:
            raise WrongTier(named, Tier(found["tier"]), tier)
        if region is not None and found["region"] != region:
            raise ResidencyViolated(named, found["region"], region)
        return found
    placed = (
        select(PLACE.c.cluster, func.count().label("tenants"))
        .select_from(PLACEMENT.join(PLACE, PLACEMENT.c.place == PLACE.c.id))
        .group_by(PLACE.c.cluster)
        .subquery()
    )
    counted = CLUSTER.outerjoin(placed, placed.c.cluster == CLUSTER.c.name)
    unmade = (
        PLACE.c.cluster == CLUSTER.c.name,
        PLACE.c.tier == Tier.STANDARD,
        PLACE.c.state != PlaceState.READY,
    )
    fitting = select(CLUSTER).select_from(counted).where(CLUSTER.c.tier == tier)
    if region is not None:
        fitting = fitting.where(CLUSTER.c.region == region)
    if apart is not None:
        fitting = fitting.where(CLUSTER.c.name != apart)
    # A standard cluster whose preparation failed comes last: it may have to wait for an operator.
    is_unmade = select(PLACE.c.id).where(*unmade).exists()
    emptiest = fitting.order_by(is_unmade, func.coalesce(placed.c.tenants, 0), CLUSTER.c.name).limit(1)
    found = await row(connection, _kept(emptiest))
    if found is None:
        raise NoCluster(tier, region)
    return found


def _kept(clusters: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]:
    """The same, and nobody removes what it finds until the transaction ends."""
    return clusters.with_for_update(read=True, key_share=True, of=CLUSTER)
