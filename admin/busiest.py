"""Who is served most, fails most and waits most at this moment, by the word of all processes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from admin.advising import Advising
from admin.answers import JsonAnswer
from admin.shapes import MOST_ROWS, Json, Shape, read_query
from observe.lately import Recent, Span


class Page(Shape):
    """`GET /busiest`."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 100


@dataclass(slots=True)
class Busiest:
    """One tenant, in all processes together.

    Attributes:
        requests_per_s, errors_per_s: Answered, and how many of those not with `ok`.
        connections: In use, on average.
        waited_s: For a connection, all its requests added up, in one second.
        waiting, oldest_s, error: As of `observe.lately.Recent`.
    """

    tenant: str
    tier: str | None = None
    cluster: str | None = None
    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    connections: float = 0.0
    waited_s: float = 0.0
    waiting: int = 0
    oldest_s: float = 0.0
    error: str | None = None

    def add(self, recent: Recent, over_s: float) -> None:
        """Add what one process tells."""
        if recent.cluster is not None:
            self.tier, self.cluster = recent.tier, recent.cluster
        if over_s:
            self.requests_per_s += recent.requests / over_s
            self.errors_per_s += recent.failed / over_s
            self.connections += recent.database_s / over_s
            self.waited_s += recent.waiting_s / over_s
        self.waiting += recent.waiting
        self.oldest_s = max(self.oldest_s, recent.oldest_s)
        self.error = recent.error or self.error

    @property
    def measures(self) -> tuple[float, ...]:
        """By what tenants are compared."""
        return self.requests_per_s, self.errors_per_s, self.connections, self.waited_s, self.waiting


def busiest(spans: Iterable[Span], *, most: int) -> list[Busiest]:
    """One line for each tenant, those first that stand first in anything."""
    found: dict[str, Busiest] = {}
    for span in spans:
        for recent in span.tenants:
            found.setdefault(recent.tenant, Busiest(recent.tenant)).add(recent, span.over_s)
    largest = [max(column) or 1.0 for column in zip(*(each.measures for each in found.values()), strict=True)]

    def need(each: Busiest) -> float:
        return max(part / whole for part, whole in zip(each.measures, largest, strict=True))

    return sorted(found.values(), key=lambda each: (-need(each), each.tenant))[:most]


class BusiestRoutes:
    """The route of those who are busiest."""

    def __init__(self, advising: Advising) -> None:
        self._advising = advising

    async def busiest(self, request: Request) -> Response:
        """`GET /busiest`."""
        page = read_query(Page, request.query_params)
        told = await self._advising.told()
        spans = [load.lately for load in told.loads]
        return JsonAnswer(
            {
                "processes": len(told.loads),
                "untold": told.untold,
                "over_s": round(max((span.over_s for span in spans), default=0.0), 1),
                "tenants": [_told(each) for each in busiest(spans, most=page.limit)],
            }
        )


def _told(each: Busiest) -> Json:
    return {
        "tenant": each.tenant,
        "tier": each.tier,
        "cluster": each.cluster,
        "requests_per_s": round(each.requests_per_s, 2),
        "errors_per_s": round(each.errors_per_s, 2),
        "connections": round(each.connections, 3),
        "waited_s": round(each.waited_s, 3),
        "waiting": each.waiting,
        "oldest_s": round(each.oldest_s, 2),
        "error": each.error,
    }
