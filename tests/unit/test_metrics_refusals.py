"""What was not let through is counted where it was refused, by words from closed sets."""

import gc
from typing import get_args

import pytest

import observe.pools
import observe.requests
from guard.errors import (
    RULES,
    StatementForbidden,
    StatementNotPassed,
    StatementRefused,
    StatementTooComplex,
    StatementUnreadable,
)
from observe.clusters import STATES
from observe.metrics import Metrics
from observe.snapshot import BreakerState, BudgetCount, PoolSnapshot
from pools.errors import ContextRefused, PgError, StatementFailed
from registry.placement import Place, PlaceId, Placement, TenantState
from router.errors import RateLimited, ShareFull
from router.problems import RULES as PROBLEMS
from router.refusals import told_of
from tiergate.events import ProtectionLost, RequestAnswered
from tiergate.happenings.moves import MoveCopied
from tiergate.happenings.refusals import CheckoutRefused, IsolationViolated, StatementBarred
from tiergate.happenings.registry import RegistryCounted
from tiergate.happenings.traces import SpansLost
from tiergate.tenant import TenantId, Tier

ACME = TenantId("acme")
PLACE = Place(
    id=PlaceId("p1"), tier=Tier.STANDARD, cluster="c1", conninfo="", database="d", schema="s", login="l",
    password="", context_key=b"", context_kid=1,
)  # fmt: skip
PLACEMENT = Placement(ACME, Tier.STANDARD, TenantState.ACTIVE, PLACE, 1, None)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample, as a scrape would show it."""
    metrics.render()
    return metrics.registry.get_sample_value(name, labels)


def test_what_requests_are_made_of_is_added_up_by_tier() -> None:
    metrics = Metrics()
    for tier in (Tier.STANDARD, Tier.STANDARD, None):
        metrics(
            RequestAnswered(
                "r", ACME, tier, "ok", 200, 0.1, 0.1, 0.0, 0.1, 0.4,
                encode_s=0.05, bytes_in=100, bytes_out=300, rows=7, round_trips=2,
            )
        )  # fmt: skip

    assert value(metrics, "tiergate_request_bytes_total", tier="standard", direction="in") == 200
    assert value(metrics, "tiergate_request_bytes_total", tier="standard", direction="out") == 600
    assert value(metrics, "tiergate_request_bytes_total", tier="unknown", direction="out") == 300
    assert value(metrics, "tiergate_rows_total", tier="standard") == 14
    assert value(metrics, "tiergate_round_trips_total", tier="standard") == 4
    assert value(metrics, "tiergate_request_seconds_count", tier="standard", phase="encode") == 2


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (StatementForbidden("the function", "pg_sleep", 1), "function"),
        (StatementForbidden("the name of a database", "other", 1), "database"),
        (StatementForbidden("the option of EXPLAIN", "settings", 1), "explain-option"),
        (StatementForbidden("SELECT INTO", "", 1), "construct"),
        (StatementForbidden("type", "", 1), "construct"),
        (StatementForbidden("LockingClause.something", "", 1), "construct"),
        (StatementRefused("no"), "refused"),
        (StatementUnreadable("no"), "unreadable"),
        (StatementTooComplex("no"), "too-complex"),
    ],
)
def test_what_the_guard_bars_is_told_by_the_rule_it_fails(error: StatementNotPassed, rule: str) -> None:
    metrics = Metrics()
    [event] = told_of(error, PLACEMENT, is_free=False)
    metrics(event)

    assert event == StatementBarred(Tier.STANDARD, rule)
    assert rule in RULES
    assert value(metrics, "tiergate_guard_refusals_total", tier="standard", rule=rule) == 1


def test_the_words_of_the_metrics_are_those_of_who_tells() -> None:
    assert observe.requests.RULES == RULES
    assert get_args(BreakerState) == STATES
    assert set(observe.pools.REFUSALS) <= {kind.code for kind in PROBLEMS}


def test_who_asks_too_much_is_refused_a_connection() -> None:
    refusals = (ShareFull("all", 3), RateLimited(ACME, 1.0))
    told = [event for each in refusals for event in told_of(each, PLACEMENT, is_free=False)]

    assert told == [
        CheckoutRefused(Tier.STANDARD, "c1", "share-full"),
        CheckoutRefused(Tier.STANDARD, "c1", "rate-limited"),
    ]


def test_a_context_that_the_database_does_not_believe_is_a_violation() -> None:
    refused = ContextRefused(ACME, "c1", "not signed for this tenant and connection")
    forged = StatementFailed(PgError("the tenant in this transaction is forged", "TG002"), 0)
    metrics = Metrics()
    for error in (refused, forged):
        for event in told_of(error, PLACEMENT, is_free=False):
            metrics(event)

    assert value(metrics, "tiergate_isolation_violations_total", tier="standard", kind="context") == 1
    assert value(metrics, "tiergate_isolation_violations_total", tier="standard", kind="forged") == 1


@pytest.mark.parametrize(
    ("error", "is_free"),
    [
        (ContextRefused(ACME, "c1", "expired", "clock"), False),
        (StatementFailed(PgError("no tenant in this transaction", "TG002"), 0), True),
        (StatementFailed(PgError("division by zero", "22012"), 0), False),
    ],
)
def test_what_a_clock_or_the_tenants_own_sql_does_is_none(error: Exception, *, is_free: bool) -> None:
    assert list(told_of(error, PLACEMENT, is_free=is_free)) == []


def test_each_wall_that_is_missing_counts() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_isolation_violations_total", tier="standard", kind="unprotected")
    metrics(ProtectionLost("p1", "c1", Tier.STANDARD, "table t: no policy"))
    metrics(IsolationViolated(ACME, Tier.PREMIUM, "c1", "tampered", "?"))

    assert before == 0
    assert value(metrics, "tiergate_isolation_violations_total", tier="standard", kind="unprotected") == 1
    assert value(metrics, "tiergate_isolation_violations_total", tier="premium", kind="tampered") == 1


def test_a_breaker_is_in_one_state() -> None:
    state: BreakerState = "open"
    metrics = Metrics(lambda: PoolSnapshot((), (BudgetCount("c1", 4, 1),), {"c1": 2}, {"c1": state}))

    def shown() -> list[float | None]:
        return [value(metrics, "tiergate_breaker_state", cluster="c1", state=each) for each in STATES]

    first = shown()
    state = "half-open"

    assert (first, shown()) == ([0, 0, 1], [0, 1, 0])
    assert value(metrics, "tiergate_pool_budget", cluster="c1", kind="reserve") == 2


def test_lookups_of_pools_are_counted_by_how_much_they_have_grown() -> None:
    lookups = {(Tier.STANDARD, "hit"): 5}
    metrics = Metrics(lambda: PoolSnapshot(lookups=lookups))
    metrics.refresh()
    lookups[Tier.STANDARD, "hit"] = 9

    assert value(metrics, "tiergate_pool_lookups_total", tier="standard", outcome="hit") == 9
    assert value(metrics, "tiergate_pool_lookups_total", tier="premium", outcome="miss") == 0


def test_what_the_registry_counts_is_shown_until_it_counts_anew() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_moves", state="copying")
    keys = {"active": 3, "expiring": 1}
    metrics(RegistryCounted({"copying": 2}, 40.0, keys, {"expiring": 2}, {"c1": 86400.0}))
    shown = value(metrics, "tiergate_moves", state="copying")
    assert value(metrics, "tiergate_admin_keys", state="expiring") == 2
    metrics(RegistryCounted({"soaking": 1}, 0.0, {"active": 4}, {}, {"c1": 86410.0}))

    assert (before, shown, value(metrics, "tiergate_moves", state="copying")) == (0, 2, 0)
    assert value(metrics, "tiergate_credentials", state="expiring") == 0
    assert value(metrics, "tiergate_admin_keys", state="expiring") == 0
    assert value(metrics, "tiergate_context_key_age_seconds", cluster="c1") == 86410
    assert value(metrics, "tiergate_move_idle_seconds") == 0


def test_requests_that_have_lost_their_spans_are_counted() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_spans_lost_total")
    metrics(SpansLost(7))
    metrics(SpansLost(2))

    assert (before, value(metrics, "tiergate_spans_lost_total")) == (0, 9)


def test_rows_that_moves_bring_are_counted() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_move_rows_total")
    metrics(MoveCopied("m1", ACME, 500))

    assert (before, value(metrics, "tiergate_move_rows_total")) == (0, 500)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 3),
        ("process_cpu_seconds_total", 0.01),
        ("process_start_time_seconds", 1.7e9),
    ],
)
def test_a_process_knows_what_it_uses(name: str, least: float) -> None:
    found = value(Metrics(), name)

    assert found is not None
    assert found >= least


def test_pauses_for_memory_are_measured_while_somebody_listens() -> None:
    metrics = Metrics()
    gc.disable()  # nobody else looks meanwhile
    try:
        with metrics.process.listening():
            gc.collect()
        gc.collect()
    finally:
        gc.enable()

    assert value(metrics, "tiergate_gc_pause_seconds_count") == 1
