"""What the rounds of a load say together: medians, ratios, and the machine they are true of."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.load import Sample


@dataclass(frozen=True, slots=True)
class Machine:
    """What the numbers depend on."""

    cpus: int
    processor: str
    system: str
    python: str
    postgres: str
    packages: dict[str, str]

    @property
    def line(self) -> str:
        """All of it, for people."""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"{self.cpus} CPUs ({self.processor}), {self.system}, Python {self.python}, "
            f"Postgres {self.postgres}, {packages}"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """One server, over all of its rounds.

    Attributes:
        rate, p50_ms, p99_ms: Medians over the rounds.
        rates: One for each round, in the order they were run.
        server_us: The server process's own processor time a request; None where it is not known.
        load_share: The part of one processor that the load itself took.
    """

    name: str
    rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    failures: dict[str, int]
    rates: tuple[float, ...]
    server_us: float | None
    load_share: float


def describe_machine(postgres: str, packages: Sequence[str]) -> Machine:
    """The machine we are on, with the versions of *packages*."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        postgres=postgres,
        packages={name: version(name) for name in packages},
    )


def summarise(name: str, rounds: Sequence[Sample], server_cpu_s: float | None) -> Figures:
    """Fold the rounds of one server; *server_cpu_s* is over all of them."""
    requests = sum(len(sample.latencies_ns) for sample in rounds)
    failures: dict[str, int] = {}
    for sample in rounds:
        for reason, count in sample.failures.items():
            failures[reason] = failures.get(reason, 0) + count
    took_s = sum(sample.took_s for sample in rounds)
    return Figures(
        name=name,
        rate=median(sample.rate for sample in rounds),
        p50_ms=median(quantile_ms(sample, 0.50) for sample in rounds),
        p99_ms=median(quantile_ms(sample, 0.99) for sample in rounds),
        requests=requests,
        failures=failures,
        rates=tuple(round(sample.rate, 1) for sample in rounds),
        server_us=server_cpu_s / requests * 1e6 if server_cpu_s is not None and requests else None,
        load_share=sum(sample.cpu_s for sample in rounds) / took_s if took_s else 0.0,
    )


def quantile_ms(sample: Sample, part: float) -> float:
    """The latency that *part* of the answers do not exceed, by nearest rank; NaN without answers."""
    ordered = sorted(sample.latencies_ns)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1e6


def print_report(title: str, machine: Machine, figures: Sequence[Figures], baseline: Figures) -> None:
    """A table for people; the ratio is of each rate to *baseline*'s."""
    headings = ("server", "requests/s", "ratio", "p50 ms", "p99 ms", "server µs", "failures", "load CPU")
    rows = [
        (
            row.name,
            f"{row.rate:,.0f}",
            f"{row.rate / baseline.rate:.2f}" if baseline.rate else "-",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            "-" if row.server_us is None else f"{row.server_us:.0f}",
            str(sum(row.failures.values())),
            f"{row.load_share:.0%}",
        )
        for row in figures
    ]
    print_table(title, machine, headings, rows, failures={row.name: row.failures for row in figures})


def print_table(
    title: str,
    machine: Machine,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    failures: Mapping[str, Mapping[str, int]],
    remarks: Sequence[str] = (),
) -> None:
    """A table for people, the first column a name; below it the machine, remarks, and what went wrong."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)
    console.print(machine.line, style="dim")
    for remark in remarks:
        console.print(remark)
    for name, reasons in failures.items():
        for reason, count in reasons.items():
            console.print(f"{name}: {count} times {reason}", style="bold red")


def as_json(machine: Machine, figures: Sequence[Figures], **facts: object) -> dict[str, object]:
    """The same for machines."""
    return {**facts, "machine": asdict(machine), "servers": [asdict(row) for row in figures]}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
