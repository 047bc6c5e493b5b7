"""Events become numbers, the same ones in one process and in several."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from observe.metrics import Metrics
from observe.snapshot import BudgetCount, PoolSnapshot, TierCount
from observe.tally import MOST_VALUES, HistogramTally
from tiergate.events import (
    AuditCut,
    AuditGrew,
    CacheAnswered,
    ConnectionClosed,
    LoopFailed,
    RegistryFound,
    RegistryLost,
    RequestAnswered,
)
from tiergate.tenant import TenantId, Tier

ROOT = Path(__file__).parents[2]


def answered(
    tier: Tier | None = Tier.STANDARD, outcome: str = "ok", *, queue_s: float = 0.0, database_s: float = 0.001
) -> RequestAnswered:
    """One request's end."""
    tenant = TenantId("acme") if tier else None
    return RequestAnswered("r1", tenant, tier, outcome, 200, 0.00003, queue_s, 0.0, database_s, 0.0015)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample, as a scrape would show it."""
    metrics.render()
    return metrics.registry.get_sample_value(name, labels)


def test_the_audits_entries_and_cuts_are_shown() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_audit_cuts_total")
    metrics(AuditGrew(41, "41:ab", None))
    metrics(AuditGrew(42, "42:cd", "tenant.create"))
    metrics(AuditCut("42:cd", "41:ab"))

    assert before == 0
    assert value(metrics, "tiergate_audit_entries") == 42
    assert value(metrics, "tiergate_audit_cuts_total") == 1


def test_requests_are_counted_by_tier_and_outcome() -> None:
    metrics = Metrics()
    for event in (
        answered(),
        answered(),
        answered(Tier.PREMIUM, "queue-full"),
        answered(None, "unknown-key"),
    ):
        metrics(event)

    assert value(metrics, "tiergate_requests_total", tier="standard", outcome="ok") == 2
    assert value(metrics, "tiergate_requests_total", tier="premium", outcome="queue-full") == 1
    assert value(metrics, "tiergate_requests_total", tier="unknown", outcome="unknown-key") == 1


def test_known_outcomes_are_zero_before_they_happen() -> None:
    metrics = Metrics(outcomes=["pool-exhausted"])

    assert value(metrics, "tiergate_requests_total", tier="government", outcome="pool-exhausted") == 0


def test_scraping_twice_counts_once() -> None:
    metrics = Metrics()
    metrics(answered())
    metrics.render()

    assert value(metrics, "tiergate_requests_total", tier="standard", outcome="ok") == 1
    assert value(metrics, "tiergate_request_seconds_count", tier="standard", phase="total") == 1


def test_a_phase_that_did_not_occur_is_not_counted() -> None:
    metrics = Metrics()
    metrics(answered(None, "unknown-key", database_s=0.0))
    metrics(answered())

    assert value(metrics, "tiergate_request_seconds_count", tier="unknown", phase="database") == 0
    assert value(metrics, "tiergate_request_seconds_count", tier="standard", phase="connect") == 0
    assert value(metrics, "tiergate_request_seconds_count", tier="standard", phase="queue") == 1


def test_adding_up_first_gives_what_observing_each_would_give() -> None:
    bounds_s = (0.001, 0.01, 0.1)
    seen_s = (0.0, 0.0005, 0.001, 0.0011, 0.01, 0.05, 0.1, 0.2, 99.0)
    one, other = CollectorRegistry(), CollectorRegistry()
    expected = Histogram("h", "", ["x"], registry=one, buckets=bounds_s).labels("a")
    tally = HistogramTally(Histogram("h", "", ["x"], registry=other, buckets=bounds_s).labels("a"), bounds_s)
    for seconds in seen_s:
        expected.observe(seconds)
        tally.add(seconds)
    tally.flush()

    def samples(registry: CollectorRegistry) -> dict[tuple[str, str | None], float]:
        return {
            (sample.name, sample.labels.get("le")): sample.value
            for metric in registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        }

    assert samples(other) == pytest.approx(samples(one))


def test_labels_that_never_end_are_counted_as_other() -> None:
    metrics = Metrics()
    for number in range(MOST_VALUES + 50):
        metrics(ConnectionClosed("c1", Tier.STANDARD, f"reason {number}"))

    assert value(metrics, "tiergate_connections_closed_total", tier="standard", reason="other") == 50


def test_pools_are_counted_as_the_snapshot_shows_them() -> None:
    shown = PoolSnapshot(
        (TierCount(Tier.PREMIUM, pools=3, active=4, idle=5, opening=1, closing=2, waiting=7),),
        (BudgetCount("premium-1", max=40, used=12),),
    )
    metrics = Metrics(lambda: shown)

    assert value(metrics, "tiergate_pool_connections", tier="premium", state="idle") == 5
    assert value(metrics, "tiergate_pool_waiting", tier="premium") == 7
    assert value(metrics, "tiergate_pools", tier="standard") == 0
    assert value(metrics, "tiergate_pool_budget", cluster="premium-1", kind="used") == 12
    shown = PoolSnapshot()
    assert value(metrics, "tiergate_pool_budget", cluster="premium-1", kind="used") == 0


def test_the_registry_is_down_from_its_loss_until_it_is_found() -> None:
    metrics = Metrics()
    before = value(metrics, "tiergate_registry_up")
    metrics(RegistryLost("refused"))
    lost = value(metrics, "tiergate_registry_up")
    metrics(RegistryFound())

    assert (before, lost, value(metrics, "tiergate_registry_up")) == (1, 0, 1)


def test_cache_answers_and_failed_loops_are_counted() -> None:
    metrics = Metrics()
    metrics(CacheAnswered("placement", "stale"))
    metrics(LoopFailed("tidy", "boom"))

    assert value(metrics, "tiergate_registry_cache_total", cache="placement", outcome="stale") == 1
    assert value(metrics, "tiergate_registry_cache_total", cache="credential", outcome="hit") == 0
    assert value(metrics, "tiergate_loop_failures_total", loop="tidy") == 1


_PROCESS = """
import os, sys
from observe.metrics import Metrics
from observe.processes import forget_process
from observe.snapshot import PoolSnapshot, TierCount
from tiergate.events import RegistryLost, RequestAnswered
from tiergate.tenant import Tier
metrics = Metrics(lambda: PoolSnapshot((TierCount(Tier.STANDARD, 1, 2, 0, 0, 0, 0),)), outcomes=())
for _ in range(int(sys.argv[1])):
    metrics(RequestAnswered("r", None, Tier.STANDARD, "ok", 200, 0.1, 0.0, 0.0, 0.2, 0.5))
if sys.argv[2] == "lost":
    metrics(RegistryLost("gone"))
metrics.refresh()
if sys.argv[2] == "show":
    print(metrics.render()[0].decode())
    forget_process(int(sys.argv[3]))
    print("=====")
    print(metrics.render()[0].decode())
else:
    print(os.getpid())
"""


def test_one_process_speaks_for_all_of_them(tmp_path: Path) -> None:
    def run(*args: str) -> str:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        command = [sys.executable, "-c", _PROCESS, *args]
        return subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def samples(text: str) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for metric in text_string_to_metric_families(text)
            for sample in metric.samples
        }

    ended = run("3", "lost").strip()
    both, left = (samples(text) for text in run("4", "show", ended).split("=====\n"))

    assert both["tiergate_requests_total", "ok", "standard"] == 7
    assert both["tiergate_request_seconds_sum", "standard", "total"] == 3.5
    assert both["tiergate_pool_connections", "active", "standard"] == 4
    assert both["tiergate_registry_up",] == 0
    assert left["tiergate_requests_total", "ok", "standard"] == 7
    assert left["tiergate_pool_connections", "active", "standard"] == 2
    assert left["tiergate_registry_up",] == 1


def test_hits_of_the_caches_are_counted_by_how_much_they_have_grown() -> None:
    hits = {"placement": 3}
    metrics = Metrics(hits=lambda: hits)
    metrics.refresh()
    hits["placement"] = 5

    text = metrics.render()[0].decode()

    assert 'tiergate_registry_cache_total{cache="placement",outcome="hit"} 5.0' in text


async def test_what_is_shown_piece_by_piece_is_what_is_rendered_at_once() -> None:
    metrics = Metrics()
    metrics(answered())
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(others(), name="others")
        shown, kind = await metrics.show()
        working.cancel()

    def names(body: bytes) -> list[str]:
        return [line.partition(b" ")[0].decode() for line in body.splitlines() if not line.startswith(b"#")]

    whole, also = metrics.render()
    assert names(shown) == names(whole)
    assert kind == also
    assert turns > len(list(metrics.registry.collect())) / 2
