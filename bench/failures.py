"""What fails when a server fails, for how long and how often: `make bench-failures`, about three minutes.

A gateway with its default settings stands between a cluster that fails, reached through a proxy that counts
dials, another cluster, and the registry. Callers of both clusters ask all the time. For each way to fail:
requests that failed, the slowest one, how long after the return the last failed one was sent, and the most
dials in any second. Ends with status 1 when an answer was wrong, or the others' tenants saw a failure.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial

from tests.support.crashing import kill_9, stalled
from tests.support.fields import SICK, WELL, Field, open_field
from tests.support.load import Load, codes, longest_s
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster

CALLERS = 16
EVERY_S = 0.02
AFTER_S = 3.0
Fault = Callable[[Field, float], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One failure, as callers saw it; times in seconds.

    Attributes:
        recovered_s: From the return to the last request's sending that failed; 0 when none did.
        failed: By code.
        others_failed: Requests of the other cluster's tenants.
    """

    what: str
    away_s: float
    requests: int
    failed: dict[str, int]
    longest_s: float
    recovered_s: float
    dials_per_s: int
    others_failed: int
    others_longest_s: float


@asynccontextmanager
async def killed(field: Field, away_s: float, *, server: Callable[[Field], Cluster]) -> AsyncIterator[None]:
    """Kill -9 of every process, and a start after *away_s*."""
    kill_9(server(field))
    await asyncio.sleep(away_s)
    await server(field).start(server(field).port)
    yield


@asynccontextmanager
async def restarted(field: Field, away_s: float) -> AsyncIterator[None]:
    """A fast shutdown, and a start after *away_s*."""
    await field.sick.stop()
    await asyncio.sleep(away_s)
    await field.sick.start(field.sick.port)
    yield


@asynccontextmanager
async def stands_still(
    field: Field, away_s: float, *, server: Callable[[Field], Cluster]
) -> AsyncIterator[None]:
    """SIGSTOP for *away_s*."""
    with stalled(server(field)):
        await asyncio.sleep(away_s)
    yield


def sick(field: Field) -> Cluster:
    """The cluster whose tenants suffer."""
    return field.sick


def registry(field: Field) -> Cluster:
    """The registry's server."""
    return field.registry


def faults(options: argparse.Namespace) -> list[tuple[str, float, Fault]]:
    """What fails, for how long, and how."""
    return [
        ("database killed with -9", options.away, partial(killed, server=sick)),
        ("database restarted", options.away, restarted),
        ("database stalled", options.stall, partial(stands_still, server=sick)),
        ("registry down", options.registry, partial(killed, server=registry)),
        ("registry stalled", options.stall, partial(stands_still, server=registry)),
    ]


def is_steady(load: Load) -> bool:
    """Whether every caller has lately succeeded, twice."""
    last = load.asked[-2 * CALLERS :]
    return len(last) == 2 * CALLERS and set(codes(last)) == {"ok"}


async def measure(field: Field, what: str, away_s: float, fault: Fault) -> Outcome:
    """Have it happen under load, and look until all is well again."""
    loop = asyncio.get_running_loop()
    async with (
        field.load(SICK, callers=CALLERS, every_s=EVERY_S) as theirs,
        field.load(WELL, callers=CALLERS, every_s=EVERY_S) as others,
    ):
        for load in (theirs, others):
            await wait_until(partial(is_steady, load), what="a steady load")
        began = loop.time()
        async with fault(field, away_s):
            returned = loop.time()
            await wait_until(partial(is_steady, theirs), within_s=60, what="its tenants to be served again")
            await asyncio.sleep(AFTER_S)
    failed = theirs.failed()
    return Outcome(
        what=what,
        away_s=round(returned - began, 2),
        requests=len(theirs.asked),
        failed=codes(failed),
        longest_s=round(longest_s(theirs.asked), 3),
        recovered_s=round(
            max((each.at_s - returned for each in failed if each.at_s > returned), default=0), 3
        ),
        dials_per_s=field.proxy.dials_per_s(since=began),
        others_failed=len(others.failed()),
        others_longest_s=round(longest_s(others.asked), 3),
    )


def report(outcomes: Sequence[Outcome]) -> None:
    """Print a table."""
    print(
        f"Two clusters, {CALLERS} callers of each, each asks every {EVERY_S * 1e3:.0f} ms; default settings\n"
    )
    print(
        f"{'what failed':<26}{'away s':>8}{'requests':>10}{'failed':>8}{'longest s':>11}{'recovered s':>13}"
        f"{'dials/s':>9}{'others failed':>15}{'longest s':>11}"
    )
    for row in outcomes:
        print(
            f"{row.what:<26}{row.away_s:>8.1f}{row.requests:>10}{sum(row.failed.values()):>8}"
            f"{row.longest_s:>11.2f}{row.recovered_s:>13.2f}{row.dials_per_s:>9}"
            f"{row.others_failed:>15}{row.others_longest_s:>11.2f}"
        )
    print("\nhow they failed:")
    for row in outcomes:
        print(f"  {row.what}: {', '.join(f'{count} {code}' for code, count in row.failed.items()) or 'none'}")


async def run(options: argparse.Namespace) -> int:
    """Measure each, report; the status to end with."""
    outcomes: list[Outcome] = []
    async with open_field({}) as field:
        for what, away_s, fault in faults(options):
            print(f"{what}, for {away_s:g} s ...", file=sys.stderr, flush=True)
            outcomes.append(await measure(field, what, away_s, fault))
            await field.comes_to_rest()
    if options.json:
        print(json.dumps([asdict(row) for row in outcomes], indent=2))
    else:
        report(outcomes)
    return 1 if any(row.others_failed or "wrong" in row.failed for row in outcomes) else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.failures", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--away", type=float, default=5.0, help="seconds that the database is away (5)")
    parser.add_argument("--stall", type=float, default=10.0, help="seconds that a server is stalled (10)")
    parser.add_argument("--registry", type=float, default=60.0, help="seconds that the registry is down (60)")
    parser.add_argument("--quick", action="store_true", help="2 s each")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.quick:
        options.away = options.stall = options.registry = 2.0
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
