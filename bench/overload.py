"""Twice and five times what a gateway can do: `make bench-overload`, about half a minute.

A statement of some milliseconds on two connections is the capacity. Callers ask at a given rate; each refusal
should come at once, the answers should stay as many, and health and metrics should answer meanwhile. Ends
with status 1 when one refusal in a hundred took longer than half a second.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.support.fields import WELL, Field, open_field
from tests.support.gateways import TENANTS
from tests.support.http import query, request
from tests.support.load import Asked, codes, open_load, quantile_s

WORK = "SELECT count(*)::text || ' numbers' AS n FROM generate_series(1, 40000)"
SETTINGS = {
    "gateway.max_inflight": 100,
    **{f"pools.tiers.{WELL}.{name}": 2 for name in ("default_pool_size", "max_tenant_inflight")},
    **{f"pools.tiers.{WELL}.{name}": 20 for name in ("max_waiting", "max_tenant_waiting")},
}
EACH_S = 0.25  # between two requests of one caller, whose number makes the rate
SLOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """One rate; times in milliseconds."""

    load: str
    asked_per_s: float
    good_per_s: float
    refused_per_s: float
    good_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    health_worst_ms: float
    codes: dict[str, int]


async def health_s(field: Field) -> float:
    """How long the admin port takes to say that it lives, and its metrics."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for path in ("/livez", "/readyz", "/metrics"):
        await field.gateway.http.get(f"{field.gateway.admin}{path}")
    return loop.time() - began


async def measure(field: Field, name: str, *, callers: int, every_s: float, seconds: float) -> Figures:
    """Ask for *seconds*, and look at the admin port meanwhile."""
    asked = request(field.site.keys[TENANTS[WELL]], query(WORK))
    health: list[float] = []
    async with open_load(
        field.gateway.url, [(asked, b"40000 numbers")], callers=callers, every_s=every_s
    ) as load:
        ends_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends_s:
            health.append(await health_s(field))
            await asyncio.sleep(0.2)
    good = [each for each in load.asked if each.code == "ok"]
    refused = load.failed()

    def ms(asked: Sequence[Asked], share: float) -> float:
        return round(quantile_s(asked, share) * 1e3, 1)

    return Figures(
        name,
        round(len(load.asked) / seconds, 1),
        round(len(good) / seconds, 1),
        round(len(refused) / seconds, 1),
        ms(good, 0.99),
        ms(refused, 0.5),
        ms(refused, 0.99),
        round(max(health) * 1e3, 1),
        codes(load.asked),
    )


async def run(options: argparse.Namespace) -> int:
    """Find the capacity, go beyond it, report; the status to end with."""
    async with open_field(SETTINGS) as field:
        alone = await measure(field, "capacity", callers=4, every_s=0, seconds=options.seconds)
        figures = [alone]
        for times in (2, 5):
            callers = max(1, round(times * alone.good_per_s * EACH_S))
            figures.append(
                await measure(
                    field, f"{times} times", callers=callers, every_s=EACH_S, seconds=options.seconds
                )
            )
        await field.comes_to_rest()
    if options.json:
        print(json.dumps([asdict(row) for row in figures], indent=2))
    else:
        for row in figures:
            print(
                f"{row.load:<10}{row.asked_per_s:>8.0f} asked/s {row.good_per_s:>7.0f} good/s, p99"
                f" {row.good_p99_ms:>7.1f} ms {row.refused_per_s:>7.0f} refused/s, p50"
                f" {row.refused_p50_ms:>6.1f} ms, p99 {row.refused_p99_ms:>6.1f} ms; health and metrics"
                f" {row.health_worst_ms:>6.1f} ms at worst; {row.codes}"
            )
    return 1 if any(row.refused_p99_ms > SLOW_S * 1e3 or "wrong" in row.codes for row in figures) else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each step (6)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
