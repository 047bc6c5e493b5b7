"""What the admin API answers, as shapes.

The document at `/openapi.json` is made of them, and the tests hold every answer against them. Answers
themselves are built as plain values, which costs less.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.credentials import Scope
from registry.orders import Verb
from registry.placement import TenantState
from tiergate.tenant import Tier


def _open(schema: dict[str, Any]) -> None:  # JSON Schema
    schema.pop("additionalProperties", None)


class Told(BaseModel):
    """An answer, or a part of one. A later version may tell more: the document leaves room for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_open)


class ErrorTold(Told):
    """Why a request was refused, and what to do about it."""

    code: str
    message: str
    advice: str
    retryable: bool
    mistakes: list[str] = Field(default_factory=list)


class Refusal(Told):
    """The body of every refusal."""

    error: ErrorTold


class ReplicaTold(Told):
    """A standby that reads may go to."""

    name: str
    address: str


class ClusterTold(Told):
    """A cluster, without its administrator's password."""

    name: str
    tier: Tier
    region: str | None
    address: str
    database: str
    admin_user: str
    pgbouncer: str | None
    pgbouncer_prepares: bool
    replicas: list[ReplicaTold]
    tenants: int
    created_at: datetime


class ClusterAddedTold(ClusterTold):
    """A cluster that was taken in, and what is to be looked after."""

    warnings: list[str]


class ClustersTold(Told):
    """A page of clusters."""

    clusters: list[ClusterTold]
    next: str | None


class RemovedTold(Told):
    """What is no more."""

    name: str
    state: Literal["removed", "deleted"]


class LimitsTold(Told):
    """A tenant's own limits; null where it has its tier's."""

    requests_per_s: float | None
    burst: int | None
    max_tenant_inflight: int | None
    max_tenant_waiting: int | None
    weight: int | None


class TenantTold(Told):
    """A tenant, where it lives, and what it has of its own."""

    name: str
    tier: Tier
    region: str | None
    state: TenantState
    cluster: str
    place: str
    epoch: int
    created_at: datetime
    limits: LimitsTold
    warm: bool
    compliance: str | None


class TenantSuspendedTold(TenantTold):
    """A tenant that is refused from now on."""

    drained: bool


class TenantsTold(Told):
    """A page of tenants."""

    tenants: list[TenantTold]
    next: str | None


class KeyTold(Told):
    """A tenant's key; never its text."""

    id: str
    tenant: str | None
    state: Literal["valid", "revoked", "expired"]
    scopes: list[Scope]
    note: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyMadeTold(KeyTold):
    """A new key, with its text, this once."""

    key: str


class KeysTold(Told):
    """A page of keys."""

    keys: list[KeyTold]
    next: str | None


class KeyRevokedTold(Told):
    """A key that is valid no more."""

    id: str
    state: Literal["revoked"]


class ContextKeyTold(Told):
    """The key that signs contexts in one database; its number, never itself."""

    cluster: str
    database: str
    kid: int
    since: datetime
    retiring: int | None
    retirable_in_s: int | None
    made: bool


class ContextKeysTold(Told):
    """A page of context keys."""

    context_keys: list[ContextKeyTold]
    next: str | None


class OrderTold(Told):
    """An order; names one of tenant, pool and cluster."""

    id: int
    verb: Verb
    tenant: str | None = None
    pool: str | None = None
    cluster: str | None = None
    actor: str
    left_s: float | None


class OrdersTold(Told):
    """What is paused or drained."""

    orders: list[OrderTold]
