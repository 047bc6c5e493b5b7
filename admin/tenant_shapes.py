"""JSON of the admin API about tenants."""

from dataclasses import asdict
from typing import Annotated, cast

from pydantic import Field

from admin.shapes import Json, Label, Shape
from registry.records import Own, Tenant
from tiergate.tenant import Tier


class NewTenant(Shape):
    """`POST /tenants`."""

    name: Label
    tier: Tier
    region: Label | None = None
    cluster: Label | None = None


class OwnOfTenant(Shape):
    """`PATCH /tenants/{name}`: what is missing stays, a limit that is null is the tier's again."""

    requests_per_s: Annotated[float, Field(ge=0.01, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_tenant_inflight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_tenant_waiting: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None
    warm: bool = False
    compliance: Label | None = None

    def said(self) -> Own:
        """What the request says, without what it leaves out."""
        return cast("Own", self.model_dump(exclude_unset=True))


class Confirmation(Shape):
    """The query of a `DELETE` that has no way back: the name, once more."""

    confirm: Label


def tenant_json(tenant: Tenant) -> Json:
    """A tenant, where it lives, and what it has of its own."""
    return {
        "name": tenant.name,
        "tier": tenant.tier,
        "region": tenant.region,
        "state": tenant.state,
        "cluster": tenant.cluster,
        "place": tenant.place,
        "epoch": tenant.epoch,
        "created_at": tenant.created_at,
        "limits": asdict(tenant.limits),
        "warm": tenant.warm,
        "compliance": tenant.compliance,
    }
