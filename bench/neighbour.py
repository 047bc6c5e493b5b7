"""What a quiet tenant notices of a noisy one in the same pool: `make bench-neighbour`, some three minutes.

The quiet tenant asks for one row every 25 ms. Alone; then beside one that has 100 requests outstanding at
any moment, whose statements wait 20 ms, as for a disk or a lock, and need no processor; beside one whose
100 are quick, and four such; and beside one whose statements compute for long. The same on a gateway that
serves by arrival. And while the one noisy tenant asks another gateway, with which only the machine and the
database server are shared: what is slower then, no gateway can help. Noise comes from processes of its own,
which yield to the others, so that it does not delay what is measured here.

Ends with status 1 when a quiet request failed, when its p99 beside statements that wait is more than twice
that alone, or beside quick ones both more than that and more than with the same noise elsewhere.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context

import psycopg
import uvloop

from bench.gateway import DATABASE, SCHEMA, Running
from bench.load import Sample, Target, run_load
from bench.progress import step
from bench.report import as_json, describe_machine, print_table, summarise
from bench.serving import cpu_s
from bench.site import Site, names, open_site, reads
from bench.watching import servers_cpu_s
from tiergate.tenant import Tier

QUIET_EVERY_S = 0.025
NOISE = 100
NOISY = 4
LONG = "SELECT count(*) FROM generate_series(1, 20000)"
WAITS = "SELECT waits()"
# Runs as who makes it, for no tenant may sleep. In a database of this load's own.
_WAITS = f"""
    CREATE FUNCTION {SCHEMA}.waits() RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS 'BEGIN PERFORM pg_sleep(0.02); RETURN 20; END'
"""
MOST_RATIO = 2.0
POOL = 20
FAIR = {"pools.tiers.standard.default_pool_size": POOL, "guard.tiers.standard.functions": ["waits"]}
BY_ARRIVAL = {
    **FAIR,
    "pools.tiers.standard.max_tenant_inflight": POOL,
    "pools.tiers.standard.max_waiting": 2000,
    "pools.tiers.standard.max_tenant_waiting": 2000,
}
PROGRAMS = {"fair": ("tiergate.cli", FAIR), "by arrival": ("bench.fifo", BY_ARRIVAL)}
ALONE, BESIDE_WAITS, BESIDE_ONE, ELSEWHERE = (
    "alone", "beside statements that wait", "beside 1 noisy", "noise elsewhere"
)  # fmt: skip
_YIELDS = 10
"""How nice the processes are that make noise."""
PACKAGES = ("uvicorn", "uvloop", "httptools", "psycopg")


@dataclass(slots=True)
class Arm:
    """The quiet tenant beside some noise.

    Attributes:
        noise: Who makes it; one process asks for each.
        gateway_s, servers_s: Processor time meanwhile.
    """

    name: str
    quiet: Target
    noise: Sequence[Target]
    samples: list[Sample] = field(default_factory=list)
    noises: list[Sample] = field(default_factory=list)
    gateway_s: float = 0.0
    servers_s: float = 0.0


def make_noise(target: Target, connections: int, seconds: float) -> Sample:
    """One noisy tenant, in this process."""
    os.setpriority(os.PRIO_PROCESS, 0, _YIELDS)
    return uvloop.run(run_load(target, connections=connections, seconds=seconds))


def arms_of(name: str, gateway: Running, other: Running | None = None) -> list[Arm]:
    """What is measured on one gateway, while noise is made there, or at the *other*."""
    quiet, *noisy = names(Tier.STANDARD, 1 + NOISY)
    asked = gateway.target("quiet", reads(gateway, [quiet] * 50))
    quick = [gateway.target(each, reads(gateway, [each] * 50)) for each in noisy]
    long = gateway.target("long", [gateway.call(noisy[0], LONG, [], b"20000")])
    waits = gateway.target("waits", [gateway.call(noisy[0], WAITS, [], b"20")])
    beside = {
        ALONE: [],
        BESIDE_WAITS: [waits],
        BESIDE_ONE: quick[:1],
        f"beside {NOISY} noisy": quick,
        "beside long statements": [long],
    }
    if other is not None:
        beside[ELSEWHERE] = [other.target("noise", reads(other, noisy[:1] * 50))]
    return [Arm(f"{name}, {what}", asked, noise) for what, noise in beside.items()]


async def warm(arm: Arm, processes: ProcessPoolExecutor) -> None:
    """Have everybody ask for a moment, all at once."""
    loop = asyncio.get_running_loop()
    asking = (
        loop.run_in_executor(processes, make_noise, target, POOL, 0.5) for target in (arm.quiet, *arm.noise)
    )
    await asyncio.gather(*asking)


async def measure(
    arm: Arm, processes: ProcessPoolExecutor, gateway: Running, site: Site, seconds: float
) -> None:
    """One round: the noise begins before, and ends after."""
    loop = asyncio.get_running_loop()
    ports = [server.port for server in site.tiers.values()]
    making = [loop.run_in_executor(processes, make_noise, target, NOISE, seconds + 2) for target in arm.noise]
    await asyncio.sleep(1)
    gateway_s, servers_s = cpu_s(gateway.pid), servers_cpu_s(ports)
    arm.samples.append(await run_load(arm.quiet, connections=1, seconds=seconds, every_s=QUIET_EVERY_S))
    arm.gateway_s += (cpu_s(gateway.pid) or 0.0) - (gateway_s or 0.0)
    arm.servers_s += servers_cpu_s(ports) - servers_s
    arm.noises += await asyncio.gather(*making)


def report(arms: Sequence[Arm], postgres: str, *, is_json: bool) -> bool:
    """Say what was found; whether it is as it must be."""
    figures = [summarise(arm.name, arm.samples, None) for arm in arms]
    p99_ms = {row.name: row.p99_ms for row in figures}
    ratios = [row.p99_ms / p99_ms[f"{row.name.partition(',')[0]}, {ALONE}"] for row in figures]
    machine = describe_machine(postgres, PACKAGES)
    if is_json:
        facts = {"ratios": {row.name: round(ratio, 2) for row, ratio in zip(figures, ratios, strict=True)}}
        print(json.dumps(as_json(machine, figures, **facts), indent=2))
    else:
        rows = []
        for arm, row, ratio in zip(arms, figures, ratios, strict=True):
            took_s = sum(sample.took_s for sample in arm.samples)
            noise = sum(sample.rate for sample in arm.noises) / len(arm.samples)
            rows.append(
                (
                    row.name,
                    *(f"{row.requests}", f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", f"{ratio:.1f}"),
                    *(f"{noise:,.0f}", f"{arm.gateway_s / took_s:.0%}", f"{arm.servers_s / took_s:.0%}"),
                    f"{sum(each.cpu_s / each.took_s for each in arm.noises) / len(arm.samples):.0%}",
                )
            )
        headings = (
            "quiet tenant",
            "requests",
            "p50 ms",
            "p99 ms",
            "ratio",
            "noise/s",
            "gateway",
            "Postgres",
            "noise CPU",
        )
        title = f"A request every {QUIET_EVERY_S * 1e3:.0f} ms, beside tenants with {NOISE} outstanding each"
        print_table(title, machine, headings, rows, failures={row.name: row.failures for row in figures})
    alone, waits, one, elsewhere = (
        p99_ms[f"fair, {what}"] for what in (ALONE, BESIDE_WAITS, BESIDE_ONE, ELSEWHERE)
    )
    is_fair = waits <= MOST_RATIO * alone and one <= max(MOST_RATIO * alone, elsewhere)
    return is_fair and all(row.requests and not row.failures for row in figures)


async def run(options: argparse.Namespace) -> int:
    """Measure both ways in turn, report; the status to end with."""
    arms: list[Arm] = []
    context = get_context("spawn")
    async with open_site([Tier.STANDARD]) as site:
        await site.add(Tier.STANDARD, names(Tier.STANDARD, 1 + NOISY))
        conninfo = site.clusters[Tier.STANDARD].conninfo(DATABASE)
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            await connection.execute(_WAITS)
        with ProcessPoolExecutor(NOISY, mp_context=context) as processes:
            for name, (program, settings) in PROGRAMS.items():
                async with AsyncExitStack() as stack:
                    gateway = await stack.enter_async_context(site.serve(settings, program=program))
                    other = None
                    if program == PROGRAMS["fair"][0]:
                        other = await stack.enter_async_context(site.serve(settings, program=program))
                    mine = arms_of(name, gateway, other)
                    for arm in mine:  # each is known, the pool is full, noise has its processes
                        await warm(arm, processes)
                    for number in range(options.rounds):
                        with step(f"{name.capitalize()}: round {number + 1} of {options.rounds}"):
                            for arm in mine:
                                await measure(arm, processes, gateway, site, options.seconds)
                    arms += mine
        is_well = report(arms, site.postgres, is_json=options.json)
    return 0 if is_well else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.neighbour", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each load (2)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round (5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
