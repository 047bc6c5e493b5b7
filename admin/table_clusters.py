"""The routes of the admin API for clusters and the keys that sign contexts in their databases."""

from collections.abc import Iterator

from admin import refusals as r
from admin import told
from admin.acts import Acts
from admin.cluster_shapes import NewAddress, NewCluster, NewPooler, NewReplica
from admin.context_shapes import OldKey, OneDatabase
from admin.contract import Act
from admin.shapes import Page
from admin.tenant_shapes import Confirmation
from registry.admin_keys import Role

VIEWER, OWNER = Role.VIEWER, Role.OWNER

_CREATED = 201


def clusters(acts: Acts) -> tuple[Act, ...]:
    """Those of clusters, and of their context keys."""
    return (*_clusters(acts), *_context_keys(acts))


def _clusters(acts: Acts) -> Iterator[Act]:
    yield Act(
        "GET", "/clusters", VIEWER, acts.list_clusters, "All clusters.", told.ClustersTold,
        asks=Page, refuses=r.REGISTRY, commands=("cluster list",),
    )  # fmt: skip
    yield Act(
        "POST", "/clusters", OWNER, acts.add_cluster, "Make a server ready, and take it in as a cluster.",
        told.ClusterAddedTold, _CREATED, takes=NewCluster,
        refuses=(*r.CLUSTER, *r.MAKING, r.BadCluster, r.ClusterExists, r.ClusterTaken, r.WrongServer),
        example={
            "name": "standard-1", "tier": "standard", "region": "eu",
            "dsn": "postgresql://postgres:secret@db-1.internal:5432/app",
        },
        commands=("cluster add",),
    )  # fmt: skip
    yield Act(
        "GET", "/clusters/{name}", VIEWER, acts.show_cluster, "One cluster.", told.ClusterTold,
        refuses=(*r.REGISTRY, r.UnknownCluster), commands=("cluster show",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/clusters/{name}", OWNER, acts.remove_cluster, "Forget a cluster that has no tenants.",
        told.RemovedTold, asks=Confirmation, refuses=(*r.REGISTRY, r.UnknownCluster, r.ClusterInUse),
        commands=("cluster remove",),
    )  # fmt: skip
    yield Act(
        "PUT", "/clusters/{name}/address", OWNER, acts.set_address,
        "The cluster answers elsewhere, or to another login.", told.ClusterTold, takes=NewAddress,
        refuses=(*r.CLUSTER, r.UnknownCluster, r.BadCluster, r.WrongServer, r.ClusterTaken),
        example={"dsn": "postgresql://postgres:secret@db-2.internal:5432/app"},
        commands=("cluster set-address",),
    )  # fmt: skip
    pooled = (*r.CLUSTER, r.UnknownCluster, r.BadCluster, r.PoolerUnfit)
    yield Act(
        "PUT", "/clusters/{name}/pgbouncer", OWNER, acts.set_pgbouncer,
        "Send requests through the PgBouncer at an address.", told.ClusterTold, takes=NewPooler,
        refuses=pooled, example={"address": "host=pgbouncer.internal port=6432"},
        commands=("cluster set-pgbouncer",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/clusters/{name}/pgbouncer", OWNER, acts.unset_pgbouncer, "Send requests directly again.",
        told.ClusterTold, refuses=pooled, commands=("cluster set-pgbouncer",),
    )  # fmt: skip
    yield Act(
        "PUT", "/clusters/{name}/replicas/{replica}", OWNER, acts.add_replica,
        "Let reads go to the standby at an address.", told.ClusterTold, takes=NewReplica,
        refuses=(*r.CLUSTER, r.UnknownCluster, r.BadCluster, r.ReplicaUnfit),
        example={"address": "host=db-3.internal port=5432"}, commands=("cluster add-replica",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/clusters/{name}/replicas/{replica}", OWNER, acts.remove_replica,
        "Send no more reads there.", told.ClusterTold,
        refuses=(*r.REGISTRY, r.UnknownCluster, r.UnknownReplica), commands=("cluster remove-replica",),
    )  # fmt: skip


def _context_keys(acts: Acts) -> Iterator[Act]:
    which = {"cluster": "standard-1", "database": "app"}
    yield Act(
        "GET", "/context-keys", VIEWER, acts.list_context_keys, "Which key signs contexts in each database.",
        told.ContextKeysTold, asks=Page, refuses=(*r.REGISTRY, r.UnknownCluster), commands=("keys list",),
    )  # fmt: skip
    yield Act(
        "POST", "/context-keys/rotate", OWNER, acts.rotate_context_key,
        "Have contexts in a database signed by a new key.", told.ContextKeyTold, takes=OneDatabase,
        refuses=(*r.CLUSTER, r.UnknownDatabase, r.UnknownCluster, r.ContextKeyConflict), example=which,
        commands=("keys rotate-context",),
    )  # fmt: skip
    yield Act(
        "POST", "/context-keys/retire", OWNER, acts.retire_context_key,
        "Have a database refuse the older key.", told.ContextKeyTold, takes=OldKey,
        refuses=(*r.CLUSTER, r.UnknownDatabase, r.UnknownCluster, r.KeyInUse), example=which,
        commands=("keys rotate-context",),
    )  # fmt: skip
