"""Throughput of one gateway directly and through PgBouncer: `make bench-pgbouncer`, about a minute.

The same standard tenants' point reads, in rounds that alternate; PgBouncer is the system's, or what
TIERGATE_TEST_PGBOUNCER names, in transaction mode. Ends with status 1 when an answer was wrong.
"""

import argparse
import json
import sys

import uvloop

from bench.load import Sample, run_load
from bench.progress import step
from bench.report import as_json, describe_machine, print_report, summarise
from bench.serving import cpu_s
from bench.site import names, open_site, reads
from tests.support.pgbouncer import open_pgbouncer
from tiergate.deadline import Deadline
from tiergate.tenant import Tier

TENANTS = 20
POOL = 20
PACKAGES = ("uvicorn", "uvloop", "httptools", "psycopg")


async def run(options: argparse.Namespace) -> int:
    """Measure, report; the status to end with."""
    tenants = names(Tier.STANDARD, TENANTS)
    async with open_site([Tier.STANDARD]) as site:
        await site.add(Tier.STANDARD, tenants)
        server = site.clusters[Tier.STANDARD]
        async with open_pgbouncer(server, pool_size=POOL) as pooler, site.serve() as gateway:
            ways = {"directly": None, "through PgBouncer": pooler.address}
            samples: dict[str, list[Sample]] = {name: [] for name in ways}
            used_s = dict.fromkeys(ways, 0.0)
            for number in range(options.rounds):
                with step(f"Round {number + 1} of {options.rounds}"):
                    for name, address in ways.items():
                        await site.operations.set_pgbouncer(
                            Tier.STANDARD, address, prepares=pooler.prepares and address is not None,
                            actor="bench", deadline=Deadline.after(60),
                        )  # fmt: skip
                        target = gateway.target(name, reads(gateway, tenants * 50))
                        await run_load(target, connections=options.connections, seconds=1)
                        before_s = cpu_s(gateway.pid) or 0.0
                        samples[name].append(
                            await run_load(target, connections=options.connections, seconds=options.seconds)
                        )
                        used_s[name] += (cpu_s(gateway.pid) or 0.0) - before_s
        figures = [summarise(name, samples[name], used_s[name]) for name in ways]
        machine = describe_machine(site.postgres, PACKAGES)
    if options.json:
        print(json.dumps(as_json(machine, figures, prepares=pooler.prepares), indent=2))
    else:
        kind = "with" if pooler.prepares else "without"
        print_report(
            f"Point reads, {kind} prepared statements behind PgBouncer", machine, figures, figures[0]
        )
    return 1 if any(row.failures or not row.requests for row in figures) else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser("python -m bench.pgbouncer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds each way (3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round (4)")
    parser.add_argument("--connections", type=int, default=16, help="requests outstanding at a time (16)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
