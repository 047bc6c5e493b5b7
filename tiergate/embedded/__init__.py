"""Postgres clusters of our own, for the demo and the tests: no service, no Docker, no system Postgres.

Never for production data: one server each, on loopback, stopped when its program ends.
"""

from tiergate.embedded.binaries import Binaries, find_binaries
from tiergate.embedded.cluster import Cluster, erase_cluster, open_cluster, open_clusters
from tiergate.embedded.errors import (
    ClusterBroken,
    ClusterFailed,
    ClusterInUse,
    NoAccess,
    NoAccount,
    NoBinaries,
    PortTaken,
    UnsafeFolder,
)

__all__ = [
    "Binaries",
    "Cluster",
    "ClusterBroken",
    "ClusterFailed",
    "ClusterInUse",
    "NoAccess",
    "NoAccount",
    "NoBinaries",
    "PortTaken",
    "UnsafeFolder",
    "erase_cluster",
    "find_binaries",
    "open_cluster",
    "open_clusters",
]
