"""The routes of the admin API for orders, and for who carries them out."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from admin.answers import JsonAnswer
from admin.gate import actor_of, read_limited
from admin.orders import Ordering
from admin.shapes import Json, Label, Line, Shape, read_body
from registry.orders import Kind, Known, Order, Scope, Told, Verb

_LONGEST_S = 86_400.0
_LONGEST_WAIT_S = 300.0
_COUNTED = ("active", "idle", "waiting", "opening", "closing")


class NewOrder(Shape):
    """`POST /orders`."""

    verb: Verb
    tenant: Label | None = None
    pool: Annotated[Line, Field(min_length=1, max_length=64)] | None = None
    cluster: Label | None = None
    for_s: Annotated[float, Field(ge=1, le=_LONGEST_S, allow_inf_nan=False)] = 300.0
    wait_s: Annotated[float, Field(ge=0, le=_LONGEST_WAIT_S, allow_inf_nan=False)] = 30.0

    @model_validator(mode="after")
    def _one(self) -> "NewOrder":
        if sum(name is not None for name in (self.tenant, self.pool, self.cluster)) != 1:
            msg = "name one of tenant, pool and cluster"
            raise ValueError(msg)
        return self

    @property
    def scope(self) -> Scope:
        """Whom it is about."""
        if self.tenant is not None:
            return Scope(Kind.TENANT, self.tenant)
        return (
            Scope(Kind.POOL, self.pool) if self.pool is not None else Scope(Kind.CLUSTER, self.cluster or "")
        )


class OrderRoutes:
    """Routes of orders, and of the processes of every gateway."""

    def __init__(self, ordering: Callable[[], Ordering]) -> None:
        self._ordering = ordering

    async def give(self, request: Request) -> Response:
        """`POST /orders`."""
        asked = read_body(NewOrder, await read_limited(request))
        told = await self._ordering().give(
            asked.verb, asked.scope, for_s=asked.for_s, wait_s=asked.wait_s, actor=actor_of(request)
        )
        return JsonAnswer(_told(told))

    async def list_standing(self, _request: Request) -> Response:
        """`GET /orders`."""
        return JsonAnswer({"orders": [_order(order) for order in await self._ordering().standing()]})

    async def list_gateways(self, _request: Request) -> Response:
        """`GET /gateways`."""
        known = await self._ordering().processes()
        pools = [pool for each in known for pool in each.holdings.pools]
        budgets = [budget for each in known for budget in each.holdings.budgets]
        return JsonAnswer(
            {
                "processes": [{**_process(each), **asdict(each.holdings)} for each in known],
                "pools": _summed(pools, ("place", "cluster", "tier"), _COUNTED),
                "budgets": _summed(budgets, ("cluster",), ("max", "used")),
            }
        )


def _summed(
    rows: Iterable[Mapping[str, object]], names: tuple[str, ...], counts: tuple[str, ...]
) -> list[Json]:
    """One row for all rows of the same names, with how many processes it is about."""
    found: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * (1 + len(counts)))
    for row in rows:
        total = found[tuple(str(row[name]) for name in names)]
        for number, count in enumerate((1, *(row[name] for name in counts))):
            total[number] += count if isinstance(count, int) else 0
    return [
        {**dict(zip(names, key, strict=True)), **dict(zip(("processes", *counts), total, strict=True))}
        for key, total in sorted(found.items())
    ]


def _order(order: Order) -> Json:
    return {
        "id": order.id,
        "verb": order.verb,
        str(order.scope.kind): order.scope.name,
        "actor": order.actor,
        "left_s": round(order.left_s, 1) if order.verb.stands else None,
    }


def _process(known: Known) -> Json:
    process = known.process
    return {
        "id": process.id,
        "gateway": process.gateway,
        "pid": process.pid,
        "version": process.version,
        "started_at": known.started_at,
        "silent_s": round(known.silent_s, 1),
        "is_silent": known.is_silent,
    }


def _told(told: Told) -> Json:
    return {
        "order": _order(told.order),
        "done": told.is_done,
        "over": told.is_over,
        "processes": [{**_process(each), **_answer(each)} for each in told.processes],
    }


def _answer(known: Known) -> Json:
    answer = known.answer
    if answer is None:
        return {"state": "silent" if known.is_silent else "unanswered"}
    return {
        "state": "done" if answer.done else "running",
        "requests": answer.requests,
        "waiting": answer.waiting,
        "connections": answer.connections,
        "ended": answer.ended,
        "oldest_s": answer.oldest_s,
    }
