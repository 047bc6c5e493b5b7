"""Two thousand callers who come within a second to a gateway that has no connection: `make bench-arrivals`.

Each dials, asks once, as one of many tenants on all three tiers, and goes. Every one must be answered,
and none may wait longer than a request may. Server connections are counted at the servers, those that are
still being dialled apart. Ends with status 1 when somebody got no answer, waited past the limit, or there
were more connections than the budget. About a minute.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict

import uvloop

from bench.load import Sample, run_arrivals
from bench.report import describe_machine, print_table, quantile_ms
from bench.site import names, open_site, reads
from bench.tenants import draw
from bench.watching import Seen, watched
from tiergate.tenant import Tier

BUDGET = 40
COUNTS = {Tier.STANDARD: 400, Tier.PREMIUM: 20, Tier.GOVERNMENT: 5}
LIMIT_S = 30  # gateway.request_timeout_s
SETTINGS = {"pools.max_db_connections": BUDGET, "gateway.request_timeout_s": LIMIT_S}
PACKAGES = ("uvicorn", "uvloop", "httptools", "psycopg", "asyncpg")


def report(
    sample: Sample, seen: Mapping[str, Seen], dials: float, options: argparse.Namespace, postgres: str
) -> bool:
    """Say what was found; whether it is as it must be."""
    answered = len(sample.latencies_ns)
    longest_s = max(sample.latencies_ns, default=0) / 1e9
    unanswered = options.callers - answered - sum(sample.failures.values())
    machine = describe_machine(postgres, PACKAGES)
    if options.json:
        facts = {
            "callers": options.callers, "answered": answered, "refused": sample.failures,
            "p50_ms": quantile_ms(sample, 0.5), "p99_ms": quantile_ms(sample, 0.99), "longest_s": longest_s,
            "unanswered": unanswered,
            "took_s": sample.took_s, "dials": dials, "load_cpu_s": sample.cpu_s, "budget": BUDGET,
            "connections": {name: each.told() for name, each in seen.items()}, "machine": asdict(machine),
        }  # fmt: skip
        print(json.dumps(facts, indent=2))
    else:
        headings = ("callers", "answered", "p50 ms", "p99 ms", "longest s", "all s", "dials", "load CPU s")
        row = (
            *(f"{options.callers:,}", f"{answered:,}"),
            *(f"{quantile_ms(sample, 0.5):,.0f}", f"{quantile_ms(sample, 0.99):,.0f}"),
            *(f"{longest_s:.2f}", f"{sample.took_s:.1f}", f"{dials:.0f}", f"{sample.cpu_s:.1f}"),
        )
        remarks = [
            f"{name}: {each.most} connections at most, of {BUDGET}; {each.dialled} dialled at once"
            for name, each in seen.items()
        ]
        print_table(
            "Callers who come within a second, no connection open", machine, headings, [row],
            failures={"refused": sample.failures}, remarks=remarks,
        )  # fmt: skip
    lost = sample.failures.get("connection lost", 0) + sample.failures.get("wrong answer", 0)
    return not (unanswered or lost) and longest_s <= LIMIT_S and all(s.most <= BUDGET for s in seen.values())


async def run(options: argparse.Namespace) -> int:
    """Bring everything up, let them come, report; the status to end with."""
    async with open_site(Tier) as site:
        for tier, count in COUNTS.items():
            await site.add(tier, names(tier, count))
        async with site.serve(SETTINGS) as gateway:
            target = gateway.target("arrivals", reads(gateway, draw(COUNTS, options.callers)))
            async with watched(site.tiers) as seen:
                sample = await run_arrivals(target, count=options.callers, within_s=1.0)
            dials = await gateway.metric("tiergate_connections_opened_total")
        is_well = report(sample, seen, dials, options, site.postgres)
    return 0 if is_well else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser("python -m bench.arrivals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--callers", type=int, default=2000, help="how many come (2000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
