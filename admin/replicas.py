"""What an operator may do with a cluster's replicas."""

from admin.acting import Acting
from admin.dsn import read_address
from fleet.replicas import recognize_replica
from registry.placement import Replica
from registry.records import Cluster
from tiergate.deadline import Deadline


class Replicas(Acting):
    """Acts on replicas. Each may be asked for again."""

    async def add_replica(
        self, cluster: str, name: str, address: str, *, actor: str, deadline: Deadline
    ) -> Cluster:
        """Let reads of *cluster* that accept it go to the standby at *address*; one of that name has moved.

        Raises:
            UnknownCluster: There is none of that name.
            BadCluster: The address is not understood.
            ReplicaUnfit: What answers there is no standby of the cluster; nothing was changed.
        """
        replica = Replica(name, read_address(address))
        async with self._witnessed(actor, "cluster.add-replica", cluster):
            access = await self.access(cluster)
            await recognize_replica(access, replica, deadline)
            await self._store.put_replica(cluster, replica, actor=actor)
            return await self._store.cluster(cluster)

    async def remove_replica(self, cluster: str, name: str, *, actor: str) -> Cluster:
        """Send no more reads to that replica; what runs there ends in peace.

        Raises:
            UnknownCluster, UnknownReplica: There is none of that name.
        """
        async with self._witnessed(actor, "cluster.remove-replica", cluster):
            await self._store.cluster(cluster)
            await self._store.remove_replica(cluster, name, actor=actor)
            return await self._store.cluster(cluster)
