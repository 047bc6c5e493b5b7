"""What tenants have used, for whoever bills them."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from admin.acting import Acting
from admin.answers import JsonAnswer
from admin.shapes import MOST_ROWS, Documented, Json, Label, Moment, Shape, in_calendar, read_query
from registry.usage import Mark, Period, Usage, Wanted
from tiergate.tenant import TenantId, Tier, tenant_id

_MARK = r"^[a-z0-9-]{1,63}/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00:00Z/(standard|premium|government)$"


def _mark(text: object) -> Mark | None:
    """The row that `next` names."""
    try:
        tenant, period, tier = str(text).split("/")
        begins, name = datetime.fromisoformat(period), tenant_id(tenant)
        if name is not None and begins.tzinfo is not None:
            return Mark(name, in_calendar(begins), Tier(tier))
    except ValueError:
        pass
    msg = "must be what `next` of the page before says"
    raise ValueError(msg)


_Bound = Annotated[Moment | None, Field(strict=False)]


class UsagePage(Shape):
    """The query of `GET /usage`."""

    tenant: Label | None = None
    tier: Annotated[Tier | None, Field(strict=False)] = None
    since: _Bound = Field(default=None, alias="from")
    until: _Bound = Field(default=None, alias="to")
    by: Annotated[Period, Field(strict=False)] = Period.MONTH
    after: Annotated[Mark | None, BeforeValidator(_mark), Documented(_MARK)] = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 100

    @property
    def wanted(self) -> Wanted:
        """What is meant."""
        tenant = None if self.tenant is None else TenantId(self.tenant)
        return Wanted(self.by, tenant, self.tier, self.since, self.until, self.after)


class Billing(Acting):
    """What was used."""

    async def usage(self, wanted: Wanted, *, limit: int) -> list[Usage]:
        """The first rows of what is meant, by tenant, period and tier."""
        return await self._store.usage(wanted, limit=limit)


class UsageRoutes:
    """The route of usage."""

    def __init__(self, billing: Callable[[], Billing]) -> None:
        self._billing = billing

    async def usage(self, request: Request) -> Response:
        """`GET /usage`."""
        page = read_query(UsagePage, request.query_params)
        found = await self._billing().usage(page.wanted, limit=page.limit)
        following = _next(found[-1].mark) if len(found) == page.limit else None
        told = [usage_json(each) for each in found]
        return JsonAnswer({"by": page.by, "usage": told, "next": following})


def _next(mark: Mark) -> str:
    return f"{mark.tenant}/{mark.period.isoformat().replace('+00:00', 'Z')}/{mark.tier}"


def usage_json(usage: Usage) -> Json:
    """What one tenant has used in one period on one tier."""
    return {
        "tenant": usage.mark.tenant,
        "from": usage.mark.period,
        "tier": usage.mark.tier,
        "requests": usage.requests,
        "failed_requests": usage.failed,
        "rows": usage.rows,
        "in_bytes": usage.in_bytes,
        "out_bytes": usage.out_bytes,
        "database_s": usage.database_us / 1e6,
        "connection_s": usage.connection_us / 1e6,
        "storage_bytes": usage.storage_bytes,
    }
