"""What it costs a request that it is told of: `python -m bench.observe`; needs no database.

The event of an answered request goes to a sink that does nothing, and to those of a gateway, by turns: the
log, which says nothing of what went well, the metrics, and the busiest tenants.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence

from observe.busiest import Busiest
from observe.lines import LineWriter
from observe.logs import Log
from observe.metrics import Metrics
from tiergate.events import Event, RequestAnswered
from tiergate.tenant import TenantId, Tier

EVENTS = 20_000
ROUNDS = 9


def answered(number: int) -> RequestAnswered:
    """One of a thousand tenants has its answer."""
    return RequestAnswered(
        "r", TenantId(f"tenant-{number % 1_000}"), Tier.STANDARD, "ok", 200, 3e-5, 0.0, 0.0, 1e-3, 1.2e-3,
        cluster="standard-1", rows=3, bytes_in=80, bytes_out=400, encode_s=2e-5, round_trips=1,
    )  # fmt: skip


def cost_us(sinks: Sequence[Callable[[Event], None]]) -> float:
    """Processor time of one event, in microseconds: made, and told to all of them."""
    began_s = time.thread_time()
    for number in range(EVENTS):
        event = answered(number)
        for sink in sinks:
            sink(event)
    return 1e6 * (time.thread_time() - began_s) / EVENTS


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with open(os.devnull, "wb") as nowhere, LineWriter(nowhere) as lines:  # noqa: PTH123 - a device
        metrics, busiest, log = Metrics(), Busiest(), Log(lines)
        arms: dict[str, list[Callable[[Event], None]]] = {
            "null sink": [lambda _event: None],
            "log": [log],
            "metrics": [metrics],
            "busiest": [busiest],
            "all of them": [log, metrics, busiest],
        }
        taken: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(ROUNDS):
            for name, sinks in arms.items():
                taken[name].append(cost_us(sinks))
    found = {name: round(statistics.median(each), 2) for name, each in taken.items()}
    if options.json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        print(f"{name:>12}  {each:6.2f} µs a request, {each - found['null sink']:+6.2f}")


if __name__ == "__main__":
    main()
