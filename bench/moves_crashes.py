"""What becomes of a move when anything fails at any of its steps: `make bench-moves-crashes`.

At each step that the code names a worker is killed, or stopped until all is over; either database, the
registry or a gateway is killed and comes back; the network is cut. Clients write all the time, and both ends
are judged afterwards. Each journey through the states that comes by a step is travelled. Told to stop
(SIGINT, SIGTERM), it reports the runs so far. Ends with status 1 when anything acknowledged was lost, doubled
or misplaced, something was left behind, or a move did not end.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from bench.progress import until_stopped
from moves.steps import Step
from tests.support.crossing import Crossings, find_crossings
from tests.support.gateways import Serving
from tests.support.grounds import Ground, open_ground
from tests.support.journeys import Fault, Journey
from tiergate.tenant import Tier

FROM = "standard-a"
IDLE = "tests.support.idle"
_CONCURRENT = frozenset({Fault.MOVER_KILLED, Fault.MOVER_STOPPED})
"""Those that touch no other move."""


@dataclass(frozen=True, slots=True)
class Run:
    """One move and what happened to it."""

    step: Step
    journey: Journey
    fault: Fault
    state: str
    wrong: dict[str, int]
    left: tuple[str, ...]
    woke_to: tuple[str, ...]
    failed: dict[str, int]
    longest_s: float
    took_s: float
    why: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not (any(self.wrong.values()) or self.left or self.woke_to or self.why)


def asked(crossings: Crossings, options: argparse.Namespace) -> Iterator[tuple[Step, int, Fault]]:
    """Every step, each way to it that is wanted, and what happens there."""
    for fault in Fault:
        if options.fault and fault.name.lower() not in options.fault:
            continue
        for step in Step:
            if options.step and step not in options.step:
                continue
            ways = range(len(crossings.by_step.get(step, ())))
            for way in ways if options.every_way else ways[:1]:
                yield step, way, fault


async def one(
    ground: Ground, gateways: Sequence[Serving], crossings: Crossings, step: Step, way: int, fault: Fault
) -> Run:
    """Travel, and say what came of it."""
    journey = crossings.by_step[step][way].journey
    try:
        outcome = await crossings.meet(ground, gateways, step, fault, way=way)
    except AssertionError as exc:
        return Run(step, journey, fault, "?", {}, (), (), {}, 0.0, 0.0, str(exc)[:300])
    why = "" if outcome.was_reached else "the step was not reached"
    if not why and not outcome.is_good and outcome.judged.is_good and not outcome.woke_to:
        why = f"it ended {outcome.state}"
    return Run(
        step, journey, fault, outcome.state,
        {kind: count for kind, count in outcome.judged.verdict.counts().items() if count},
        tuple(outcome.judged.left), outcome.woke_to, outcome.failed,
        round(outcome.longest_s, 2), round(outcome.took_s, 1), why,
    )  # fmt: skip


async def crash(options: argparse.Namespace) -> list[Run]:
    """Every run: some at a time where one does not touch the other."""
    runs: list[Run] = []
    async with (
        open_ground((FROM, f"{options.to}-a"), is_proxied=True) as ground,
        ground.gateways(2, program=IDLE) as gateways,
    ):
        crossings = await find_crossings(ground, gateways)
        wanted = list(asked(crossings, options))

        async def go(gate: asyncio.Semaphore, step: Step, way: int, fault: Fault) -> None:
            async with gate:
                run = await one(ground, gateways, crossings, step, way, fault)
                runs.append(run)
                how = "well" if run.is_good else f"NOT WELL: {run}"
                print(f"{len(runs)} of {len(wanted)}: {fault} at {step}: {how}", file=sys.stderr, flush=True)

        gates = {True: asyncio.Semaphore(options.at_once), False: asyncio.Semaphore(1)}
        async with until_stopped():
            for is_concurrent, gate in gates.items():
                async with asyncio.TaskGroup() as tasks:
                    for step, way, fault in wanted:
                        if (fault in _CONCURRENT) is is_concurrent:
                            tasks.create_task(go(gate, step, way, fault), name=f"{fault} at {step}")
        for step in crossings.missed:
            print(f"no journey comes by {step}", file=sys.stderr)
    return runs


def report(runs: Sequence[Run], to: Tier) -> None:
    """Print a table: how each step went, for each way to fail; between standard and *to*."""
    faults = [fault for fault in Fault if any(run.fault is fault for run in runs)]
    title = f"What a move between standard and {to} came to, by the step at which something failed"
    table = Table(title=title, title_justify="left")
    table.add_column("step")
    for fault in faults:
        table.add_column(fault.name.lower().replace("_", " "))
    for step in Step:
        cells = []
        for fault in faults:
            mine = [run for run in runs if run.step is step and run.fault is fault]
            ended = Counter(run.state if run.is_good else "WRONG" for run in mine)
            cells.append(", ".join(f"{count} {state}" for state, count in ended.items()) or "-")
        table.add_row(step, *cells)
    console = Console()
    console.width = max(console.width, 150)
    console.print(table)
    bad = [run for run in runs if not run.is_good]
    wrong: Counter[str] = Counter()
    for run in runs:
        wrong.update(run.wrong)
    console.print(f"{len(runs)} runs, {len(bad)} not well; wrong entries: {dict(wrong) or 'none'}")
    for run in bad:
        console.print(str(run), style="bold red")


async def run(options: argparse.Namespace) -> int:
    """Crash, report; the status to end with."""
    runs = await crash(options)
    if options.json:
        print(json.dumps([asdict(each) for each in runs], indent=2))
    else:
        report(runs, options.to)
    return 0 if all(each.is_good for each in runs) else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.moves_crashes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--fault", action="append", help="only this way to fail, as mover_killed; repeatable")
    parser.add_argument("--step", action="append", help="only at this step; repeatable")
    parser.add_argument(
        "--to", type=Tier, choices=[Tier.PREMIUM, Tier.GOVERNMENT], default=Tier.PREMIUM,
        help="the tier that tenants of the standard one are promoted to, and come back from (premium)",
    )  # fmt: skip
    parser.add_argument("--every-way", action="store_true", help="on each journey that comes by a step")
    parser.add_argument("--at-once", type=int, default=4, help="moves at one time, where one may (4)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
