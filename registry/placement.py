"""Where a tenant's rows live: the values that the registry answers with."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType

from tiergate.tenant import TenantId, Tier

PlaceId = NewType("PlaceId", str)
"""Opaque: `pl_` and 12 lower-case letters or digits. Schemas, databases and logins are named after it."""


class TenantState(StrEnum):
    """Where a tenant stands in its life."""

    CREATING = "creating"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Replica:
    """A streaming standby of a cluster.

    Attributes:
        conninfo: As of a `Place`; of one host.
    """

    name: str
    conninfo: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Place:
    """One database schema that holds rows, and how to reach it.

    Attributes:
        cluster: Name of the Postgres server in the registry; of a replica, CLUSTER/REPLICA.
        conninfo: libpq keyword/value string with host, port and TLS; no user, password or dbname.
            The way that requests take, which may lead through a pooler.
        database: Bare name of the database.
        schema: Bare name of the schema that the application's tables are in.
        login: Role that requests connect as.
        password: That role's password.
        context_key: 32 bytes; signs the tokens that `tiergate.enter` accepts in this database.
        context_kid: Number of that key in the database's key table.
        via_pgbouncer: Whether *conninfo* leads through PgBouncer in transaction mode.
        prepares: Whether statements may be prepared by name there; PgBouncer cannot before 1.21.
        replicas: The cluster's, by name.
        replica: Which of them *conninfo* leads to; None for the cluster itself.
    """

    id: PlaceId
    tier: Tier
    cluster: str
    conninfo: str
    database: str
    schema: str
    login: str
    password: str = field(repr=False)
    context_key: bytes = field(repr=False)
    context_kid: int
    via_pgbouncer: bool = False
    prepares: bool = True
    replicas: tuple[Replica, ...] = ()
    replica: str | None = None

    @property
    def primary(self) -> str:
        """Name of the cluster, of a replica as well."""
        return self.cluster if self.replica is None else self.cluster.removesuffix(f"/{self.replica}")

    def at(self, replica: Replica) -> "Place":
        """The same place, as it is read at *replica*; directly, whatever is in front of the cluster."""
        return replace(
            self, cluster=f"{self.cluster}/{replica.name}", conninfo=replica.conninfo,
            replica=replica.name, via_pgbouncer=False, prepares=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What one tenant has instead of what its tier has; None for what the tier has.

    Attributes:
        weight: How many of its waiting requests are served in one turn of the pool's queue.
    """

    requests_per_s: float | None = None
    burst: int | None = None
    max_tenant_inflight: int | None = None
    max_tenant_waiting: int | None = None
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A tenant and the place that serves it.

    Attributes:
        epoch: Grows with each change of placement, is never used twice.
        limits: The tenant's own.
    """

    tenant: TenantId
    tier: Tier
    state: TenantState
    place: Place
    epoch: int
    region: str | None
    limits: TenantLimits = TenantLimits()
