"""What isolation costs the database server: `make bench-overhead`, about a minute.

Five kinds of statements, each asked for in three ways on one Postgres server: with no isolation,
with plain row-level security by a setting, and as the gateway asks. What counts is the processor
time of the server process that answers, as the kernel counts it: on a shared machine the
latency beside it says more about the neighbours. The ways take turns in short rounds, and of all
rounds a low percentile is told, as that is the one that was disturbed least.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.arms import KINDS, ROWS, TENANTS, Arm, Failed, Kind, open_arms
from bench.report import describe_machine
from bench.serving import server_folder
from tiergate.embedded import find_binaries, open_cluster

WARM_UP = 20  # requests: plans are made generic after five
PACKAGES = ("psycopg",)
# A parallel worker is another process, whose time would not be seen. Commits wait for no disk.
SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
    "synchronous_commit": "off",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request of a kind takes in one arm: the tenth percentile of the rounds.

    Attributes:
        server_us: Processor time of the server process.
        latency_us: From the first byte sent to the answer decoded; the mean of a round.
    """

    kind: str
    arm: str
    server_us: float
    latency_us: float


def cpu_ns(pid: int) -> int:
    """Processor time that a process has used so far.

    Source:
        Linux, Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat, first field.
    """
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


async def ask_round(arm: Arm, kind: Kind, numbers: Sequence[int]) -> tuple[float, float]:
    """One round: microseconds of the server's processor, and of waiting, for each request.

    Raises:
        Failed: A statement was not done.
    """
    before_ns, started_s = cpu_ns(arm.pid), time.perf_counter()
    answers = [await arm.ask(kind, number) for number in numbers]
    took_s, used_ns = time.perf_counter() - started_s, cpu_ns(arm.pid) - before_ns
    for answer in answers:
        if answer.command_tag != kind.tag:
            raise Failed(f"{kind.name}, {arm.name}: {answer.command_tag!r} instead of {kind.tag!r}")
    return used_ns / len(numbers) / 1e3, took_s / len(numbers) * 1e6


async def measure(arms: Sequence[Arm], rounds: int) -> list[Cost]:
    """Warm everything, then take turns; a cost for each kind and arm."""
    taken: dict[tuple[Kind, Arm], list[tuple[float, float]]] = {(k, a): [] for k in KINDS for a in arms}
    fresh = {pair: count() for pair in taken}

    async def once(kind: Kind, arm: Arm, requests: int) -> tuple[float, float]:
        return await ask_round(arm, kind, [next(fresh[kind, arm]) for _ in range(requests)])

    for kind, arm in taken:
        await once(kind, arm, WARM_UP)
    for _ in range(rounds):
        for (kind, arm), samples in taken.items():
            samples.append(await once(kind, arm, kind.requests))
    return [
        Cost(kind.name, arm.name, *(low(values) for values in zip(*samples, strict=True)))
        for (kind, arm), samples in taken.items()
    ]


def low(values: Sequence[float]) -> float:
    """The tenth percentile, by nearest rank."""
    return sorted(values)[(len(values) - 1) // 10]


def print_costs(title: str, costs: Sequence[Cost], machine: str) -> None:
    """A table for people: absolute times, and what ours is of the others'."""
    table = Table(title=title, title_justify="left")
    table.add_column("statement")
    for heading in (
        "none µs", "setting µs", "tiergate µs", "- none", ": none", ": setting", "latency µs, the same three",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for kind in KINDS:
        none, setting, ours = [cost for cost in costs if cost.kind == kind.name]
        table.add_row(
            kind.name,
            *(f"{cost.server_us:.1f}" for cost in (none, setting, ours)),
            f"{ours.server_us - none.server_us:+.1f}",
            f"{ours.server_us / none.server_us:.2f}",
            f"{ours.server_us / setting.server_us:.2f}",
            " ".join(f"{cost.latency_us:.0f}" for cost in (none, setting, ours)),
        )
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
    console.print(machine, style="dim")


async def run(options: argparse.Namespace) -> None:
    """Measure and report."""
    with server_folder() as folder:
        opened = open_cluster(
            folder / "cluster", settings=SETTINGS, binaries=find_binaries(major=options.major)
        )
        async with opened as server, open_arms(server) as arms:
            costs = await measure(arms, options.rounds)
            machine = describe_machine(server.version, PACKAGES)
    if options.json:
        facts = {"rounds": options.rounds, "tenants": TENANTS, "rows": ROWS, "machine": asdict(machine)}
        print(json.dumps(facts | {"costs": [asdict(cost) for cost in costs]}, indent=2))
        return
    title = (
        f"Processor time of the server process a request, {TENANTS} tenants of {ROWS:,} rows, "
        f"tenth percentile of {options.rounds} rounds"
    )
    print_costs(title, costs, machine.line)


def main() -> None:
    """Read the options and run."""
    summary = (__doc__ or "").split("\n", maxsplit=1)[0]
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=summary)
    parser.add_argument("--rounds", type=int, default=25, help="rounds for each statement and way (25)")
    parser.add_argument("--major", type=int, help="run on this major version of Postgres")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
