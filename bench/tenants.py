"""Ten thousand tenants on a few dozen server connections, beside ten: `make bench-tenants`, some minutes.

Each request reads one member of one tenant, who is drawn after Zipf's law from all three tiers; the ten
are asked for the same, tier by tier. Rounds of the two alternate, on one gateway with its defaults but the
budget. Meanwhile connections are counted at the servers; before it, scrapes of the metrics are timed. Ends
with status 1 when there were more than the budget at any look, or an answer was wrong.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

import uvloop

from bench.gateway import Running
from bench.load import Sample, Target, run_load, run_once
from bench.progress import step
from bench.report import as_json, describe_machine, print_table, summarise
from bench.serving import cpu_s
from bench.site import Site, names, open_site, reads
from bench.watching import Seen, resident_bytes, servers_cpu_s, watched
from tiergate.tenant import Tier

BUDGET = 40
COUNTS = {Tier.STANDARD: 10_000, Tier.PREMIUM: 500, Tier.GOVERNMENT: 20}
QUICK = {Tier.STANDARD: 1_000, Tier.PREMIUM: 50, Tier.GOVERNMENT: 5}
FEW = {Tier.STANDARD: 8, Tier.PREMIUM: 1, Tier.GOVERNMENT: 1}
SKEW = 1.1
DRAWN = 60_000
SCRAPES = 50
PACKAGES = ("uvicorn", "uvloop", "httptools", "psycopg", "asyncpg", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tenant costs that the gateway knows and nobody asks for; bytes of anonymous memory.

    Attributes:
        standard: Its placement and its key.
        premium: These, and its pool for as long as there is one.
    """

    standard: float | None
    premium: float | None


@dataclass(frozen=True, slots=True)
class Scraped:
    """What scrapes cost when the gateway knows all tenants, and nobody asks for anything.

    Attributes:
        wall_ms: Median and longest.
        late: How often the event loop was 5 ms late meanwhile, of how many looks.
    """

    series: int
    wall_ms: tuple[float, float]
    late: tuple[int, int]


@dataclass(slots=True)
class Arm:
    """One of the two loads, and what it took.

    Attributes:
        used: Processor seconds of the gateway and of the servers; questions to the registry; dials.
    """

    name: str
    target: Target
    samples: list[Sample] = field(default_factory=list)
    used: list[float] = field(default_factory=lambda: [0.0] * 4)


class WrongAnswer(Exception):
    """A tenant was not answered as it must be."""


def draw(counts: Mapping[Tier, int], number: int) -> list[str]:
    """Tenants as they are asked for: the tiers spread evenly over the ranks, the ranks drawn after Zipf."""
    ranked = sorted(
        ((n + 0.5) / count, name)
        for tier, count in counts.items()
        for n, name in enumerate(names(tier, count))
    )
    weights = [1 / rank**SKEW for rank in range(1, len(ranked) + 1)]
    return [name for _, name in random.Random(1).choices(ranked, weights, k=number)]


def fewer(asked: Sequence[str]) -> list[str]:
    """The same requests, tier by tier, to FEW tenants only."""
    tenants = {tier: names(tier, count) for tier, count in FEW.items()}
    rotating = random.Random(2)
    return [rotating.choice(tenants[Tier(name.partition("-")[0])]) for name in asked]


async def know(gateway: Running, tenants: Sequence[str], connections: int) -> float | None:
    """Ask once for each of *tenants*; what the gateway holds for each of them since, in bytes.

    Raises:
        WrongAnswer: One of the answers was not right.
    """
    before = resident_bytes(gateway.pid)
    sample = await run_once(
        gateway.target("know", reads(gateway, tenants)),
        connections=connections,
        within_s=len(tenants) / 20 + 30,
    )
    after = resident_bytes(gateway.pid)
    if len(sample.latencies_ns) < len(tenants):
        raise WrongAnswer(f"{len(sample.latencies_ns)} of {len(tenants)} answers: {sample.failures}")
    return (after - before) / len(tenants) if before is not None and after is not None else None


async def remember(gateway: Running, counts: Mapping[Tier, int], connections: int) -> Memory:
    """Have every tenant asked for, once the gateway's own parts are warm; what they cost."""
    warm = gateway.target("warm", reads(gateway, names(Tier.STANDARD, FEW[Tier.STANDARD])))
    await run_load(warm, connections=connections, seconds=2)
    with step(f"Asking once for each of {sum(counts.values()):,} tenants"):
        standard = await know(gateway, names(Tier.STANDARD, counts[Tier.STANDARD]), connections)
        premium = await know(gateway, names(Tier.PREMIUM, counts[Tier.PREMIUM]), connections)
        await know(gateway, names(Tier.GOVERNMENT, counts[Tier.GOVERNMENT]), connections)
    return Memory(standard, premium)


async def scrape(gateway: Running) -> Scraped:
    """Ask for the metrics now and then."""
    delay, walls, lines = "tiergate_loop_delay_seconds", list[float](), list[str]()

    async def looks() -> list[float]:
        return [await gateway.metric(f"{delay}_bucket", 'le="0.005"'), await gateway.metric(f"{delay}_count")]

    in_time, all_ = await looks()
    for _ in range(SCRAPES):
        began_s = time.perf_counter()
        lines = await gateway.scrape()
        walls.append(1e3 * (time.perf_counter() - began_s))
        await asyncio.sleep(0.1)
    in_time, all_ = (after - before for after, before in zip(await looks(), (in_time, all_), strict=True))
    return Scraped(
        len(lines), (round(median(walls), 1), round(max(walls), 1)), (round(all_ - in_time), round(all_))
    )


async def measure(
    site: Site, gateway: Running, options: argparse.Namespace, counts: Mapping[Tier, int]
) -> list[Arm]:
    """Take turns, after a round of each that does not count."""
    asked = draw(counts, DRAWN)
    arms = [
        Arm(f"{sum(FEW.values())}", gateway.target("few", reads(gateway, fewer(asked)))),
        Arm(f"{sum(counts.values()):,}", gateway.target("many", reads(gateway, asked))),
    ]
    ports = [server.port for server in site.tiers.values()]

    async def used() -> list[float]:
        return [
            cpu_s(gateway.pid) or 0.0,
            servers_cpu_s(ports),
            await gateway.metric("tiergate_registry_cache_total", 'outcome="miss"'),
            await gateway.metric("tiergate_connections_opened_total"),
        ]

    for number in range(options.rounds + 1):
        with step(f"Round {number} of {options.rounds}"):
            for arm in arms:
                before = await used()
                sample = await run_load(arm.target, connections=options.connections, seconds=options.seconds)
                if number:
                    arm.samples.append(sample)
                    after = await used()
                    arm.used = [sum(each) for each in zip(arm.used, after, (-n for n in before), strict=True)]
    return arms


def report(
    arms: Sequence[Arm],
    seen: Mapping[str, Seen],
    memory: Memory,
    scraped: Scraped,
    postgres: str,
    options: argparse.Namespace,
) -> bool:
    """Say what was found; whether it is as it must be."""
    figures = [summarise(arm.name, arm.samples, arm.used[0]) for arm in arms]
    few, many = figures
    ratio = many.rate / few.rate if few.rate else None
    over = [name for name, each in seen.items() if each.most > options.budget]
    machine = describe_machine(postgres, PACKAGES)
    if options.json:
        facts = {
            "ratio": round(ratio, 3) if ratio else None,
            "budget": options.budget,
            "connections": {name: each.told() for name, each in seen.items()},
            "bytes_per_tenant": asdict(memory),
            "scrapes": asdict(scraped),
        }
        print(json.dumps(as_json(machine, figures, **facts), indent=2))
    else:
        rows = [
            (
                row.name,
                f"{row.rate:,.0f}",
                f"{row.rate / few.rate:.2f}" if few.rate else "-",
                f"{row.p50_ms:.1f}",
                f"{row.p99_ms:.1f}",
                *(
                    f"{each / max(1, row.requests) * scale:.{digits}f}"
                    for each, scale, digits in zip(arm.used, (1e6, 1e6, 1e3, 1e3), (0, 0, 1, 1), strict=True)
                ),
                f"{row.load_share:.0%}",
            )
            for arm, row in zip(arms, figures, strict=True)
        ]
        headings = (
            *("tenants", "requests/s", "ratio", "p50 ms", "p99 ms", "gateway µs", "server µs"),
            *("asked ‰", "dials ‰", "load CPU"),
        )
        remarks = [
            f"{name}: {each.most} server connections at most, of {options.budget}, in {each.looks:,} looks"
            for name, each in seen.items()
        ]
        remarks += [
            f"memory for each {tier} tenant that nobody asks for: {size:,.0f} bytes"
            for tier, size in asdict(memory).items()
            if size is not None
        ]
        median_ms, longest_ms = scraped.wall_ms
        remarks += [
            f"a scrape with all of them: {scraped.series:,} series, {median_ms} ms, at most {longest_ms} ms",
            f"meanwhile the event loop was 5 ms late at {scraped.late[0]} of {scraped.late[1]} looks",
        ]
        print_table(
            "A point read each, by tenants drawn after Zipf's law", machine, headings, rows,
            failures={row.name: row.failures for row in figures}, remarks=remarks,
        )  # fmt: skip
    return not over and all(row.requests and not row.failures for row in figures)


async def run(options: argparse.Namespace) -> int:
    """Provision, measure, report; the status to end with."""
    counts = QUICK if options.quick else COUNTS
    async with open_site(Tier) as site:
        for tier, count in counts.items():
            await site.add(tier, names(tier, count))
        async with (
            site.serve({"pools.max_db_connections": options.budget}) as gateway,
            watched(site.tiers) as seen,
        ):
            memory = await remember(gateway, counts, options.connections)
            with step(f"Scraping {SCRAPES} times"):
                scraped = await scrape(gateway)
            arms = await measure(site, gateway, options, counts)
        is_well = report(arms, seen, memory, scraped, site.postgres, options)
    return 0 if is_well else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser("python -m bench.tenants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the tenants")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of each load (4)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a round (6)")
    parser.add_argument("--connections", type=int, default=16, help="requests outstanding at a time (16)")
    parser.add_argument(
        "--budget", type=int, default=BUDGET, help=f"server connections to each cluster ({BUDGET})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
