"""What a scrape costs with many tenants: `python -m bench.scrape`; needs no database.

One process's metrics, fed with what requests of so many tenants tell: most are answered, some are not.
"""

import argparse
import json
import random
import statistics
import time
from dataclasses import asdict, dataclass

import router.problems  # noqa: F401 - all errors that a request may end with
from observe.busiest import Busiest
from observe.metrics import Metrics
from observe.outcomes import known_outcomes
from tiergate.events import RequestAnswered
from tiergate.tenant import TenantId, Tier

TENANTS = (10, 1_000, 10_000)
SCRAPES = 30
FAILING = 4
"""Errors that tenants meet at one time: an incident has few."""
_ERROR_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Scraped:
    """What scrapes cost with so many tenants.

    Attributes:
        wall_ms: Median and longest; what else the machine does is in them.
        cpu_ms: Median of the processor time.
        refresh_cpu_ms: The longest of what each second costs, scraped or not.
    """

    tenants: int
    series: int
    size_bytes: int
    wall_ms: tuple[float, float]
    cpu_ms: float
    refresh_cpu_ms: float


def requests(tenants: int) -> list[RequestAnswered]:
    """Ten requests of each tenant, in no order."""
    chance = random.Random(1)  # the same each time
    failing = [outcome for outcome in known_outcomes() if outcome != "ok"][:FAILING]
    told = []
    for number in range(tenants):
        tier = (Tier.STANDARD, Tier.STANDARD, Tier.PREMIUM, Tier.GOVERNMENT)[number % 4]
        for _ in range(10):
            outcome = chance.choice(failing) if chance.random() < _ERROR_SHARE else "ok"
            told.append(
                RequestAnswered(
                    "r", TenantId(f"tenant-{number}"), tier, outcome, 200, 3e-5, 1e-5, 0.0, 1e-3, 1.2e-3,
                    cluster=f"{tier}-1", rows=3, bytes_in=80, bytes_out=400, encode_s=2e-5, round_trips=1,
                )
            )  # fmt: skip
    chance.shuffle(told)
    return told


def scrape(tenants: int) -> Scraped:
    """Feed and scrape."""
    metrics, busiest = Metrics(), Busiest()
    walls, cpus, refreshes = [], [], []
    told = requests(tenants)
    part = max(1, len(told) // SCRAPES)
    body = b""
    for number in range(SCRAPES):
        for event in told[number * part : (number + 1) * part]:
            metrics(event)
            busiest(event)
        began, began_cpu = time.perf_counter(), time.thread_time()
        metrics.refresh()
        refreshed = time.thread_time()
        body, _ = metrics.render()
        walls.append(1e3 * (time.perf_counter() - began))
        cpus.append(1e3 * (time.thread_time() - began_cpu))
        refreshes.append(1e3 * (refreshed - began_cpu))
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    return Scraped(
        tenants,
        series,
        len(body),
        (round(statistics.median(walls), 2), round(max(walls), 2)),
        round(statistics.median(cpus), 2),
        round(max(refreshes), 2),
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    found = [scrape(tenants) for tenants in TENANTS]
    if parser.parse_args().json:
        print(json.dumps([asdict(each) for each in found]))
        return
    print(" tenants  series     KB  median ms  longest ms  CPU ms  refresh CPU ms")
    for each in found:
        print(
            f"{each.tenants:>8} {each.series:>7} {each.size_bytes / 1000:>6.0f} {each.wall_ms[0]:>10}"
            f" {each.wall_ms[1]:>11} {each.cpu_ms:>7} {each.refresh_cpu_ms:>15}"
        )


if __name__ == "__main__":
    main()
