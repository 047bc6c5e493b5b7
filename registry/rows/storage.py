"""How much storage tenants take: measured by one process at a time, and written down beside what they use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, text, update

from registry.placement import PlaceId
from registry.rows.asking import Asking, rows
from registry.tables import CLUSTER, PLACE, PLACEMENT, SCHEMA
from tiergate.tenant import TenantId, Tier

_AGAIN = timedelta(hours=1)
_EVERY = timedelta(days=1)
_ROWS = 1000
_WRITE = text(f"""
INSERT INTO {SCHEMA}.usage (tenant, hour, tier, storage_bytes)
SELECT tenant, date_trunc('hour', now(), 'UTC'), tier, size_bytes
FROM unnest(cast(:tenant AS text[]), cast(:tier AS text[]), cast(:size_bytes AS bigint[]))
    AS measured (tenant, tier, size_bytes)
ORDER BY tenant, tier
ON CONFLICT (tenant, hour, tier) DO UPDATE SET storage_bytes = excluded.storage_bytes
""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Resident:
    """A tenant, and where its rows lie."""

    tenant: TenantId
    tier: Tier
    place: PlaceId
    database: str
    schema: str


class Storage(Asking):
    """Whose storage is to be measured, and how much it is."""

    async def claim_storage(self) -> str | None:
        """A cluster that is due, which is nobody else's for the next hour; None when none is."""
        due = select(CLUSTER.c.name).where(CLUSTER.c.storage_due_at <= func.now())
        first = due.order_by(CLUSTER.c.storage_due_at, CLUSTER.c.name).limit(1)
        claiming = (
            update(CLUSTER)
            .where(CLUSTER.c.name == first.with_for_update(skip_locked=True).scalar_subquery())
            .values(storage_due_at=func.now() + _AGAIN)
            .returning(CLUSTER.c.name)
        )
        async with self._reading() as connection:  # one statement: its own transaction
            name: str | None = (await connection.execute(claiming)).scalar_one_or_none()
            return name

    async def settle_storage(self, cluster: str) -> None:
        """*cluster* was measured, and is due again in a day."""
        settling = update(CLUSTER).where(CLUSTER.c.name == cluster)
        async with self._reading() as connection:
            await connection.execute(settling.values(storage_due_at=func.now() + _EVERY))

    async def residents(self, cluster: str) -> list[Resident]:
        """All tenants whose place is on *cluster*."""
        placed = select(PLACEMENT.c.tenant, PLACE.c.tier, PLACE.c.id, PLACE.c.database, PLACE.c.schema)
        found = placed.join(PLACE, PLACE.c.id == PLACEMENT.c.place).where(PLACE.c.cluster == cluster)
        async with self._reading() as connection:
            return [
                Resident(
                    TenantId(each["tenant"]), Tier(each["tier"]), PlaceId(each["id"]),
                    each["database"], each["schema"],
                )
                for each in await rows(connection, found.order_by(PLACEMENT.c.tenant))
            ]  # fmt: skip

    async def write_storage(self, sizes: Sequence[tuple[TenantId, Tier, int]]) -> None:
        """Write down how many bytes each tenant takes on its tier, now; what this hour knew is replaced."""
        for at in range(0, len(sizes), _ROWS):
            tenants, tiers, found = zip(*sizes[at : at + _ROWS], strict=True)
            said = {"tenant": list(tenants), "tier": list(tiers), "size_bytes": list(found)}
            async with self._reading() as connection:
                await connection.execute(_WRITE, said)
