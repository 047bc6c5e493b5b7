"""How many tenants an error has met, not how often, and not for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observe.affected import LATELY_S, Affected
from observe.book import Book
from tiergate.tenant import Tier

ROOT = Path(__file__).parents[2]


class Shown:
    """What is affected, at a moment that the test chooses."""

    def __init__(self) -> None:
        self.now_s = 60_000.0
        self.book = Book()
        self.affected = Affected(self.book, ["ok", "pool-exhausted", "queue-full"], now=lambda: self.now_s)

    def hurt(self, tenants: range, outcome: str = "pool-exhausted", tier: Tier = Tier.STANDARD) -> None:
        """These meet an error."""
        for tenant in tenants:
            self.affected.add(f"tenant-{tenant}", tier, outcome)

    def value(self, outcome: str = "pool-exhausted", tier: Tier = Tier.STANDARD) -> float | None:
        """What a scrape shows."""
        for _ in range(3):
            self.affected.refresh()
        labels = {"tier": tier, "outcome": outcome}
        return self.book.registry.get_sample_value("tiergate_tenants_affected", labels)


def test_a_tenant_counts_once_for_each_error_it_meets() -> None:
    shown = Shown()
    for _ in range(3):
        shown.hurt(range(40))
    shown.hurt(range(5), "queue-full", Tier.PREMIUM)

    assert shown.value() == pytest.approx(40, abs=1)
    assert shown.value("queue-full", Tier.PREMIUM) == 5
    assert shown.value("queue-full") == 0


def test_who_was_hurt_long_ago_does_not_count() -> None:
    shown = Shown()
    shown.hurt(range(30))
    shown.now_s += LATELY_S - 1
    shown.hurt(range(20, 50))
    both = shown.value()
    shown.now_s += LATELY_S - 1
    later = shown.value()
    shown.now_s += 2 * 60

    assert both == pytest.approx(50, abs=1)
    assert later == pytest.approx(30, abs=1)
    assert shown.value() == 0


def test_an_error_that_nobody_knows_makes_no_series() -> None:
    shown = Shown()
    shown.hurt(range(3), "made-up")

    assert shown.value("made-up") is None


_PROCESS = """
import sys
from observe.metrics import Metrics
from tiergate.events import RequestAnswered
from tiergate.tenant import TenantId, Tier
metrics = Metrics(outcomes=["ok", "queue-full"])
for number in range(*map(int, sys.argv[1:])):
    tenant = TenantId(f"tenant-{number}")
    metrics(RequestAnswered("r", tenant, Tier.STANDARD, "queue-full", 503, 0.1, 0.0, 0.0, 0.2, 0.5))
metrics.refresh()
metrics.refresh()
print(metrics.render()[0].decode())
"""


def test_tenants_that_several_processes_saw_are_counted_once(tmp_path: Path) -> None:
    def run(*args: str) -> str:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        command = [sys.executable, "-c", _PROCESS, *args]
        return subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    run("0", "40")
    text = run("20", "60")

    [line] = [
        line
        for line in text.splitlines()
        if line.startswith("tiergate_tenants_affected") and "standard" in line
    ]
    assert float(line.rpartition(" ")[2]) == pytest.approx(60, abs=1)
