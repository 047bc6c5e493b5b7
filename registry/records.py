"""What the registry keeps besides placements, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from registry.placement import Place, PlaceId, Replica, TenantLimits, TenantState
from tiergate.tenant import TenantId, Tier


class PlaceState(StrEnum):
    """Whether a place may take tenants."""

    PREPARING = "preparing"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One Postgres server, and how tiergate administers it.

    Attributes:
        conninfo: libpq keyword/value string with host, port and TLS; no user, password or dbname.
        database: Where standard and premium tenants' schemas lie; on a government cluster, where to log in.
        tenants: How many tenants were placed there when this was read.
        pgbouncer: As *conninfo*, of the PgBouncer that requests go through; None when there is none.
        pgbouncer_prepares: Whether it keeps track of statements that are prepared by name.
        replicas: By name.
    """

    name: str
    tier: Tier
    region: str | None
    conninfo: str
    database: str
    admin_user: str
    admin_password: str = field(repr=False)
    created_at: datetime
    tenants: int
    pgbouncer: str | None = None
    pgbouncer_prepares: bool = False
    replicas: tuple[Replica, ...] = ()


@dataclass(frozen=True, slots=True)
class ContextKey:
    """Which key signs contexts in one database.

    Attributes:
        kid: Its number.
        retiring: Number of the key before it, as long as the database still knows that one.
        since: When gateways were told to sign with it.
        age_s: How long ago that was, by the registry's clock.
        is_made: Whether the database holds a place that is ready; until then it may not be there.
        via_pgbouncer: Whether what it signs may come through a pooler.
    """

    cluster: str
    database: str
    kid: int
    retiring: int | None
    since: datetime
    age_s: float
    is_made: bool
    via_pgbouncer: bool


@dataclass(frozen=True, slots=True)
class KnownPlace:
    """A place, and whether it may take tenants."""

    place: Place
    state: PlaceState


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as operators see it.

    Attributes:
        limits: Its own.
        warm: Whether connections to its place are kept open while nobody asks.
        compliance: What asks for it to live apart, as "hipaa"; None when nothing does.
    """

    name: TenantId
    tier: Tier
    region: str | None
    state: TenantState
    created_at: datetime
    cluster: str
    place: PlaceId
    epoch: int
    limits: TenantLimits
    warm: bool
    compliance: str | None = None


class Own(TypedDict, total=False):
    """What an operator may set for one tenant alone: `TenantLimits`, whether it is warm, and its compliance.

    What is missing stays as it is; a limit that is None is its tier's again.
    """

    requests_per_s: float | None
    burst: int | None
    max_tenant_inflight: int | None
    max_tenant_waiting: int | None
    weight: int | None
    warm: bool
    compliance: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One administrative act, as it is written down.

    Attributes:
        actor: Who did it, as they identified themselves.
        act: What, as `noun.verb`: "tenant.suspend".
        subject: To whom or what: a tenant's, cluster's or key's name.
        outcome: "ok", or an error's stable code.
        detail: More facts, JSON with whole numbers only; never a secret.
    """

    actor: str
    act: str
    subject: str
    outcome: str = "ok"
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An `Entry` as it was written down.

    Attributes:
        id: Its number: 1, 2, 3, without a gap.
        at: When, by the registry's clock.
        digest: Its code, which covers it and all before it.
    """

    id: int
    at: datetime
    entry: Entry
    digest: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries of the audit are meant; what is None leaves nothing out.

    Attributes:
        before: Older than the entry of that number, newest first.
        newer: Younger than that one, oldest first; instead of *before*.
        tenant: Acts on that tenant or its keys.
        act: As `noun.verb`, or the noun for all of them.
    """

    before: int | None = None
    newer: int | None = None
    tenant: str | None = None
    actor: str | None = None
    act: str | None = None
    since: datetime | None = None
