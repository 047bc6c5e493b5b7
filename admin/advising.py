"""Looks at every tenant that stands out, for an operator who asks which of them should live apart."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from admin.acting import Acting
from admin.advice import Advice, Standing, advice, by_need
from admin.answers import JsonAnswer
from admin.shapes import MOST_ROWS, Json, Label, Shape, read_query
from fleet.access import access_of
from fleet.estimates import Estimate, Rows, estimate_own, estimate_shared
from registry.load import Total, Whole, merge
from registry.placement import PlaceId, TenantState
from registry.records import Cluster, Tenant
from registry.rows.loads import Site, Told
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.tenant import Tier

_CLUSTER_S = 5.0
_WHOLE_S = 15.0
_CLUSTERS_AT_ONCE = 8
_MOST_BY_ROWS = 50
_NOTHING = Total()


class Wanted(Shape):
    """`GET /advice`."""

    tier: Annotated[Tier | None, Field(strict=False)] = None
    cluster: Label | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 20


@dataclass(slots=True)
class Found:
    """What one cluster's databases know of rows.

    Attributes:
        rows: In all places that could be asked.
        by_tenant: Where tables are shared.
        by_place: Where they are not.
        unlisted: In shared tables, about how many rows each of the tenants has that are not listed.
        tables: Whose rows they hold is not known.
        failed: Why a database could not be asked.
    """

    rows: int = 0
    by_tenant: dict[str, Rows] = field(default_factory=dict)
    by_place: dict[PlaceId, Rows] = field(default_factory=dict)
    unlisted: Rows | None = None
    tables: tuple[str, ...] = ()
    failed: list[TiergateError] = field(default_factory=list)

    def of(self, tenant: Tenant) -> Rows | None:
        """What *tenant* has."""
        return self.by_place.get(tenant.place) or self.by_tenant.get(tenant.name)


@dataclass(frozen=True, slots=True)
class Advised:
    """The answer to one question.

    Attributes:
        untold: Processes that were not heard of lately, or tell nothing.
        standings: Who stands out, most in need first.
    """

    whole: Whole
    untold: int
    clusters: Sequence[tuple[Cluster, Found]]
    standings: Sequence[tuple[Standing, Advice | None]]


class Advising(Acting):
    """Advice for operators."""

    async def advise(self, wanted: Wanted) -> Advised:
        """Who stands out on the clusters that are meant, and what to do with them.

        Each cluster has 5 s to tell of its rows, and all together 15; what is not told is named, and the
        rest stands.

        Raises:
            UnknownCluster: There is none of that name.
        """
        if wanted.cluster is not None:
            await self._store.cluster(wanted.cluster)
        known = await self._store.clusters()
        meant = {
            each.name: each
            for each in known
            if wanted.cluster in {None, each.name} and wanted.tier in {None, each.tier}
        }
        told = await self._store.loads()
        whole = merge(told.loads)
        found = await self._rows(meant.values(), await self._store.sites(meant))
        names = {tenant for tenant, cluster in whole.tenants if cluster in meant}
        names |= {tenant for each in found.values() for tenant in each.by_tenant}
        places = {place for each in found.values() for place in each.by_place}
        standings = [
            Standing(
                tenant,
                meant[tenant.cluster],
                whole.tenants.get((tenant.name, tenant.cluster), _NOTHING),
                whole.clusters.get(tenant.cluster, _NOTHING),
                found[tenant.cluster].of(tenant),
                found[tenant.cluster].rows,
            )
            for tenant in await self._store.housed(names, places)
            if tenant.cluster in meant and tenant.state in {TenantState.ACTIVE, TenantState.SUSPENDED}
        ]
        advised = [(standing, advice(standing, known)) for standing in standings]
        advised.sort(key=lambda each: by_need(*each))
        shown = [(cluster, found[name]) for name, cluster in meant.items()]
        return Advised(whole, told.untold, shown, advised[: wanted.limit])

    async def told(self) -> Told:
        """What each process has told of itself; asks no cluster."""
        return await self._store.loads()

    async def _rows(self, clusters: Iterable[Cluster], sites: Iterable[Site]) -> Mapping[str, Found]:
        by_cluster: defaultdict[str, list[Site]] = defaultdict(list)
        for site in sites:
            by_cluster[site.cluster].append(site)
        turns, whole = asyncio.Semaphore(_CLUSTERS_AT_ONCE), Deadline.after(_WHOLE_S)

        async def ask(cluster: Cluster) -> Found:
            async with turns:
                deadline = Deadline.after(min(_CLUSTER_S, whole.left_s()))
                return await _rows_of(cluster, by_cluster[cluster.name], deadline)

        async with asyncio.TaskGroup() as tasks:
            asked = {
                cluster.name: tasks.create_task(ask(cluster), name=f"rows of {cluster.name}")
                for cluster in clusters
            }
        return {name: task.result() for name, task in asked.items()}


async def _rows_of(cluster: Cluster, sites: Iterable[Site], deadline: Deadline) -> Found:
    """What a cluster tells in its time, database by database."""
    found = Found()
    databases: defaultdict[str, dict[str, PlaceId]] = defaultdict(dict)
    for site in sites:
        databases[site.database][site.schema] = site.place
    for database, places in databases.items():
        try:
            estimate = await _estimate(cluster, database, tuple(places), deadline)
        except TiergateError as error:
            found.failed.append(error)
            if not deadline.left_s():
                break
            continue
        found.rows += estimate.rows
        if cluster.tier is Tier.STANDARD:
            found.by_tenant |= {each.of: each for each in estimate.most}
            found.unlisted, found.tables = estimate.unlisted, estimate.unknown
        else:
            found.by_place |= {places[each.of]: each for each in estimate.most}
    return found


async def _estimate(cluster: Cluster, database: str, schemas: Sequence[str], deadline: Deadline) -> Estimate:
    access = access_of(cluster)
    if cluster.tier is Tier.STANDARD:
        [schema] = schemas
        return await estimate_shared(access, database, schema, most=_MOST_BY_ROWS, deadline=deadline)
    return await estimate_own(access, database, schemas, most=_MOST_BY_ROWS, deadline=deadline)


class AdviceRoutes:
    """The route of advice."""

    def __init__(self, advising: Advising) -> None:
        self._advising = advising

    async def advise(self, request: Request) -> Response:
        """`GET /advice`."""
        return JsonAnswer(_told(await self._advising.advise(read_query(Wanted, request.query_params))))


def _told(advised: Advised) -> Json:
    whole = advised.whole
    return {
        "processes": whole.processes,
        "untold": advised.untold,
        "over_s": round(whole.over_s, 1),
        "clusters": [
            _cluster(cluster, found, whole.clusters.get(cluster.name, _NOTHING))
            for cluster, found in advised.clusters
        ],
        "tenants": [_tenant(*each) for each in advised.standings],
    }


def _cluster(cluster: Cluster, found: Found, total: Total) -> Json:
    unlisted = found.unlisted
    return {
        "cluster": cluster.name,
        "tier": cluster.tier,
        "tenants": cluster.tenants,
        "requests": round(total.requests),
        "database_s": round(total.database_s, 3),
        "waiting_s": round(total.waiting_s, 3),
        "connections": round(total.connections, 2),
        "rows": found.rows,
        "rows_of_others": {"table": unlisted.table, "rows": unlisted.in_table} if unlisted else None,
        "rows_unknown": list(found.tables),
        "rows_failed": [{"code": error.code, "message": str(error)} for error in found.failed],
    }


def _tenant(standing: Standing, given: Advice | None) -> Json:
    tenant, total, rows = standing.tenant, standing.total, standing.rows
    return {
        "tenant": tenant.name,
        "tier": tenant.tier,
        "cluster": tenant.cluster,
        "region": tenant.region,
        "compliance": tenant.compliance,
        "requests": round(total.requests),
        "requests_share": round(standing.requests_share, 4),
        "database_s": round(total.database_s, 3),
        "database_share": round(standing.database_share, 4),
        "connections": round(total.connections, 2),
        "waiting_s": round(total.waiting_s, 3),
        "waiting_share": round(standing.waiting_share, 4),
        "missed_share": round(standing.missed_share, 4),
        "rows": rows.rows if rows else None,
        "rows_share": round(share, 4) if (share := standing.rows_share) is not None else None,
        "largest_table": {"table": rows.table, "rows": rows.in_table} if rows else None,
        "signals": list(given.signals) if given else [],
        "to": given.to if given else None,
        "advice": given.text if given else None,
    }
