"""Which alert fires for which incident, and after how long: `make bench-incidents`, in a quarter of an hour.

A gateway stands between two clusters and the registry, under load; a real Prometheus scrapes it every second,
with the rules that come with tiergate as they are. Then something is broken on purpose. Times are from there
to the first look at which an alert fired. Ends with status 1 when an alert that should fire did not.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field

from bench.planting import BACK_DOOR, Plant, away, forged_context, noisy_tenant, stuck_move
from tests.support.fields import SICK, WELL, Field, open_field
from tests.support.postgres import server_folder
from tests.support.prometheus import Prometheus, find_prometheus, open_prometheus
from tests.support.waiting import wait_until

CALLERS = 8
EVERY_S = 0.1
STEADY_S = 20.0
CHANGES = {
    "pools.tiers.standard.default_pool_size": 2,
    "pools.tiers.standard.max_tenant_waiting": 8,
    "guard.tiers.standard.functions": [BACK_DOOR],
}
"""Little room, so that a noisy tenant meets its limits on a small machine; a hole for `forged_context`."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is broken on purpose.

    Attributes:
        expected: The alerts that must fire.
        panel: Where one sees it on the dashboards.
    """

    what: str
    plant: Plant
    expected: frozenset[str]
    panel: str


@dataclass(slots=True)
class Outcome:
    """What Prometheus said; seconds from the incident, by alert."""

    what: str
    panel: str
    missing: list[str] = field(default_factory=list)
    fired_s: dict[str, float] = field(default_factory=dict)


INCIDENTS = (
    Incident(
        "a noisy tenant",
        noisy_tenant,
        frozenset({"TiergateCallersRefused"}),
        "Overview by tier: Who is told that they ask too much?",
    ),
    Incident(
        "a premium cluster is dead",
        away(lambda opened: opened.well),
        frozenset({"TiergateClusterDown", "TiergateRequestsFail"}),
        "Pools and clusters: Which clusters let us in?",
    ),
    Incident(
        "the registry is down",
        away(lambda opened: opened.registry),
        frozenset({"TiergateRegistryDown"}),
        "Overview by tier: Does the registry answer?",
    ),
    Incident(
        "a context is forged",
        forged_context,
        frozenset({"TiergateIsolationViolation"}),
        "Overview by tier: Is anything not kept apart?",
    ),
    Incident(
        "a move is stuck",
        stuck_move,
        frozenset({"TiergateMoveStuck"}),
        "Moves and fleet: Does a move stand still?",
    ),
)


async def watch(incident: Incident, opened: Field, prometheus: Prometheus, within_s: float) -> Outcome:
    """Have it happen, and look until all that should fire has fired; then until it is over."""
    loop = asyncio.get_running_loop()
    before = {alert["alertname"] for alert in await prometheus.firing()}
    outcome = Outcome(incident.what, incident.panel)
    async with incident.plant(opened):
        began = loop.time()
        while loop.time() - began < within_s and incident.expected - outcome.fired_s.keys():
            for alert in await prometheus.firing():
                if alert["alertname"] not in before:
                    outcome.fired_s.setdefault(alert["alertname"], round(loop.time() - began, 1))
            await asyncio.sleep(0.2)
    outcome.missing = sorted(incident.expected - outcome.fired_s.keys())
    await wait_until(
        lambda: prometheus.ask("min(tiergate_registry_up) == 1 and min(tiergate_cluster_up) == 1"),
        within_s=60,
        what="everything to be back",
    )
    return outcome


def report(outcomes: list[Outcome]) -> None:
    """Print a table."""
    print("Scraped and evaluated every second; what each rule says beside (for:, windows) is as delivered\n")
    for outcome in outcomes:
        print(f"{outcome.what}   ({outcome.panel})")
        for alert, after_s in sorted(outcome.fired_s.items(), key=lambda each: each[1]):
            print(f"  {alert:<28}{after_s:>7.1f} s")
        for alert in outcome.missing:
            print(f"  {alert:<28}  never")


async def run(program: str, options: argparse.Namespace) -> int:
    """Plant each, report; the status to end with."""
    outcomes: list[Outcome] = []
    with server_folder() as folder:
        async with (
            open_field(CHANGES) as opened,
            open_prometheus(program, folder, opened.gateway.admin) as prometheus,
            opened.load(SICK, callers=CALLERS, every_s=EVERY_S),
            opened.load(WELL, callers=CALLERS, every_s=EVERY_S),
        ):
            await asyncio.sleep(STEADY_S)
            for incident in (each for each in INCIDENTS if options.only in each.what):
                print(f"{incident.what} ...", file=sys.stderr, flush=True)
                outcomes.append(await watch(incident, opened, prometheus, options.within))
                print(f"  {outcomes[-1].fired_s}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        report(outcomes)
    return 1 if any(outcome.missing for outcome in outcomes) else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.incidents", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--within", type=float, default=480.0, help="seconds that an alert is waited for (480)"
    )
    parser.add_argument("--only", metavar="WORD", default="", help="plant those whose name has this word")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    program = find_prometheus()
    if program is None:
        sys.exit("there is no Prometheus here: apt-get install prometheus")
    sys.exit(asyncio.run(run(program, options)))


if __name__ == "__main__":
    main()
