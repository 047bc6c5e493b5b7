"""Advice follows from numbers: who crowds out whom, who has grown large, and what a promotion would bring."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from admin.advice import Signal, Standing, advice, by_need
from fleet.estimates import Rows
from registry.load import Total
from registry.placement import PlaceId, TenantLimits, TenantState
from registry.records import Cluster, Tenant
from tiergate.tenant import TenantId, Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cluster(name: str, tier: Tier, tenants: int = 413, region: str | None = "eu") -> Cluster:
    return Cluster(name, tier, region, "host=db.example.com", "app", "admin", "x", NOW, tenants)


HOME = cluster("std-1", Tier.STANDARD)
EVERYWHERE = [HOME, cluster("pre-1", Tier.PREMIUM, 3), cluster("gov-1", Tier.GOVERNMENT, 0)]
ACME = Tenant(
    TenantId("acme"), Tier.STANDARD, "eu", TenantState.ACTIVE, NOW, "std-1", PlaceId("pl_1"), 1,
    TenantLimits(), warm=False,
)  # fmt: skip
QUIET = Standing(ACME, HOME, Total(10, 1, 0), Total(10_000, 1000, 10), None, None)
LOUD = replace(QUIET, total=Total(7100, 640, 8), whole=Total(10_000, 1000, 10))
LARGE = Rows("acme", 5_000_000, "events", 3_200_000)


def test_who_makes_most_of_the_requests_should_have_a_schema_of_its_own() -> None:
    given = advice(LOUD, EVERYWHERE)

    assert given is not None
    assert (given.to, given.signals) == (Tier.PREMIUM, (Signal.REQUESTS, Signal.DATABASE_TIME))
    assert given.text == (
        "acme makes 71 % of the requests and takes 64 % of the database time of cluster std-1;"
        " a schema of its own frees 64 % of the database time there for 412 neighbours."
    )


def test_who_has_many_rows_in_one_table_should_have_tables_of_its_own() -> None:
    given = advice(replace(QUIET, total=Total(), rows=LARGE, all_rows=50_000_000), EVERYWHERE)

    assert given is not None
    assert (given.to, given.signals) == (Tier.PREMIUM, (Signal.ROWS,))
    assert given.text == (
        "acme has about 3,200,000 rows in table events;"
        " a schema of its own takes its rows out of the tables that it shares with 412 neighbours."
    )


def test_who_must_live_apart_should_leave_the_shared_tables_and_no_others() -> None:
    must = replace(QUIET, tenant=replace(ACME, compliance="hipaa"), total=Total())
    given = advice(must, EVERYWHERE)

    assert given is not None
    assert (given.to, given.signals) == (Tier.PREMIUM, (Signal.COMPLIANCE,))
    assert given.text == (
        "acme must live apart (hipaa);"
        " a schema of its own takes its rows out of the tables that it shares with 412 neighbours."
    )
    assert advice(replace(must, tenant=replace(must.tenant, tier=Tier.PREMIUM)), EVERYWHERE) is None


@pytest.mark.parametrize(
    "standing",
    [
        QUIET,
        replace(LOUD, total=Total(5900, 590, 10)),
        replace(LOUD, total=Total(900, 50), whole=Total(999, 59)),
        replace(LOUD, cluster=replace(HOME, tenants=1)),
        replace(QUIET, rows=Rows("acme", 5_000_000, "events", 1_000_000)),
        replace(LOUD, tenant=replace(ACME, tier=Tier.GOVERNMENT)),
        replace(QUIET, tenant=replace(ACME, tier=Tier.PREMIUM), rows=LARGE),
    ],
    ids=["quiet", "not the most", "of next to nothing", "alone", "not too many rows", "apart", "own tables"],
)
def test_others_may_stay_where_they_are(standing: Standing) -> None:
    assert advice(standing, EVERYWHERE) is None


def test_who_crowds_out_others_in_schemas_of_their_own_should_have_a_database_of_its_own() -> None:
    given = advice(replace(LOUD, tenant=replace(ACME, tier=Tier.PREMIUM)), EVERYWHERE)

    assert given is not None
    assert given.to is Tier.GOVERNMENT
    assert "a database of its own frees 64 %" in given.text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], " There is no premium cluster in region eu yet."),
        ([cluster("pre-us", Tier.PREMIUM, region="us")], " There is no premium cluster in region eu yet."),
        ([cluster("pre-eu", Tier.PREMIUM)], "neighbours."),
    ],
)
def test_where_no_cluster_could_take_it_that_is_said(others: list[Cluster], said: str) -> None:
    given = advice(LOUD, [HOME, *others])

    assert given is not None
    assert given.text.endswith(said)


def test_shares_are_of_the_cluster_and_what_may_be_missing_is_a_share_too() -> None:
    standing = replace(
        LOUD, total=Total(7100, 640, 8, 3.2, 10.1), rows=LARGE, all_rows=20_000_000,
    )  # fmt: skip

    assert (standing.requests_share, standing.database_share, standing.waiting_share) == (0.71, 0.64, 0.8)
    assert (standing.rows_share, round(standing.missed_share, 2)) == (0.25, 0.01)


def test_those_with_advice_come_first_and_then_those_who_work_most() -> None:
    idle = replace(QUIET, tenant=replace(ACME, name=TenantId("idle")), total=Total())
    standings = [(each, advice(each, EVERYWHERE)) for each in (idle, QUIET, LOUD)]

    assert [each for each, _ in sorted(standings, key=lambda each: by_need(*each))] == [LOUD, QUIET, idle]
