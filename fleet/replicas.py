"""Whether a server is a standby of a cluster: asked before requests are sent there."""

from dataclasses import replace

from psycopg.conninfo import conninfo_to_dict

from fleet.access import ClusterAccess, bounded, open_admin
from fleet.errors import ReplicaUnfit
from fleet.position import QUESTION, Position
from registry.placement import Replica
from tiergate.deadline import Deadline


def at(cluster: ClusterAccess, replica: Replica) -> ClusterAccess:
    """The administrator's way into a replica: a standby has the cluster's own logins."""
    return replace(cluster, name=f"{cluster.name}/{replica.name}", conninfo=replica.conninfo)


async def recognize_replica(cluster: ClusterAccess, replica: Replica, deadline: Deadline) -> None:
    """Make sure that one standby of *cluster* answers at *replica*'s address; changes nothing.

    Raises:
        ReplicaUnfit: Something else does, or it may be several.
        ClusterUnreachable: One of the two does not answer.
    """
    keywords = conninfo_to_dict(replica.conninfo)
    if any("," in str(keywords.get(name, "")) for name in ("host", "hostaddr", "port")):
        # Its lag is measured on one connection, and holds for all of them.
        raise ReplicaUnfit(cluster.name, replica.name, "a replica is one server, with one host")
    primary, major = await _look(cluster, deadline)
    found, its_major = await _look(at(cluster, replica), deadline)
    if found.system != primary.system:
        raise ReplicaUnfit(cluster.name, replica.name, "it is another server, no copy of the cluster's")
    if not found.is_standby:
        raise ReplicaUnfit(cluster.name, replica.name, "it is no standby: it takes writes")
    if its_major != major:
        raise ReplicaUnfit(cluster.name, replica.name, f"it runs PostgreSQL {its_major}, not {major}")


async def _look(server: ClusterAccess, deadline: Deadline) -> tuple[Position, int]:
    """Where a server stands, and its major version."""
    async with (
        bounded(server, "tell its position", deadline),
        open_admin(server, server.database, deadline) as admin,
    ):
        cursor = await admin.execute(QUESTION)
        return Position.read(await cursor.fetchone() or ()), admin.info.server_version // 10000
