"""Standbys of clusters."""

from sqlalchemy import JSON, RowMapping, delete, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert

from registry.errors import UnknownCluster, UnknownReplica
from registry.placement import Replica
from registry.records import Entry
from registry.rows.asking import Asking, row, tell
from registry.tables import CLUSTER, REPLICA

REPLICAS = (
    select(
        func.json_agg(
            aggregate_order_by(func.json_build_array(REPLICA.c.name, REPLICA.c.conninfo), REPLICA.c.name),
            type_=JSON,
        )
    )
    .where(REPLICA.c.cluster == CLUSTER.c.name)
    .correlate(CLUSTER)
    .scalar_subquery()
    .label("replicas")
)
"""A cluster's, in one column, so that a route stays one row: [[name, conninfo], …] or null."""


class Replicas(Asking):
    """The standbys of each cluster that may be read from."""

    async def put_replica(self, cluster: str, replica: Replica, *, actor: str) -> None:
        """*cluster* has that replica from now on; one of that name answers there.

        Raises:
            UnknownCluster: There is none.
        """
        # Who removes the cluster waits for us, or we for it.
        known = select(CLUSTER.c.name).where(CLUSTER.c.name == cluster)
        held = known.with_for_update(read=True, key_share=True)
        asked = upsert(REPLICA).values(cluster=cluster, name=replica.name, conninfo=replica.conninfo)
        async with self._changing() as connection:
            if await row(connection, held) is None:
                raise UnknownCluster(cluster)
            await connection.execute(
                asked.on_conflict_do_update(
                    index_elements=[REPLICA.c.cluster, REPLICA.c.name], set_={"conninfo": replica.conninfo}
                )
            )
            entry = Entry(actor, "cluster.add-replica", cluster, detail={"replica": replica.name})
            await self._write_down(connection, entry)
            await tell(connection, all=True)

    async def remove_replica(self, cluster: str, name: str, *, actor: str) -> None:
        """*cluster* has no replica of that name any more.

        Raises:
            UnknownReplica: It has none.
        """
        async with self._changing() as connection:
            removed = await row(
                connection,
                delete(REPLICA)
                .where(REPLICA.c.cluster == cluster, REPLICA.c.name == name)
                .returning(REPLICA.c.name),
            )
            if removed is None:
                raise UnknownReplica(cluster, name)
            entry = Entry(actor, "cluster.remove-replica", cluster, detail={"replica": name})
            await self._write_down(connection, entry)
            await tell(connection, all=True)


def replicas_of(found: RowMapping) -> tuple[Replica, ...]:
    """What the column REPLICAS says."""
    return tuple(Replica(name, conninfo) for name, conninfo in found["replicas"] or ())
