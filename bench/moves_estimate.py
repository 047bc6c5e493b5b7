"""What a dry run says of a move, beside what the move then is: `make bench-moves-estimate` (two minutes).

Tenants of several sizes go from the shared tables to a schema of their own on another server, one after the
other, while nobody asks anything. The estimate is made before each. Compare ratios, not numbers.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.moves_cost import DISK, FILL
from bench.progress import step
from bench.report import Machine, describe_machine, print_table
from fleet.access import access_of
from fleet.application import read_application
from moves.ends import End
from moves.preflight import Preflight, look
from moves.sight import Goal
from registry.moves import MoveState
from tests.support.grounds import Ground, open_ground
from tests.support.ledgers import APPLICATION
from tests.support.postgres import run_sql
from tests.support.waiting import wait_until
from tests.support.workers import Task, worker_process
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

CLUSTERS = ("standard-a", "premium-a")
SIZES = (10_000, 100_000, 1_000_000)
ENDS_S = 3600.0
_PACKAGES = ("psycopg", "asyncpg")


@dataclass(frozen=True, slots=True)
class Guess:
    """One move, as it was foretold and as it was."""

    rows: int
    told_rows: int
    told_bytes: int
    told_s: float
    took_s: float
    told_pause_ms: float
    pause_ms: float | None
    state: str


async def foretold(ground: Ground, tenant: TenantId) -> Preflight:
    """What a dry run of the promotion says."""
    if (placement := await ground.store.route(tenant)) is None:
        raise RuntimeError(f"nobody knows tenant {tenant}")
    here, there = [access_of(await ground.store.cluster(name)) for name in CLUSTERS]
    goal = Goal(there, Tier.PREMIUM, None)
    return await look(End(here, placement), goal, read_application(APPLICATION), Deadline.after(60))


async def guess(ground: Ground, rows: int) -> Guess:
    """Fill, look, move."""
    tenant = await ground.create_tenant(CLUSTERS[0])
    place = await ground.place_of(tenant)
    with step(f"Writing {rows:,} rows"):
        await run_sql(place.conninfo, *FILL.format(tenant=tenant, rows=rows).split(";"))
        await run_sql(
            place.conninfo, "VACUUM ANALYZE app.accounts", "VACUUM ANALYZE app.entries", "CHECKPOINT"
        )
    seen, loop = await foretold(ground, tenant), asyncio.get_running_loop()
    began_s = loop.time()
    move = await ground.plan(tenant, CLUSTERS[1], soak_s=ENDS_S)
    task = Task(ground.site.registry_url, move.id, tenant, ground.site.folder / f"{move.id}.log")

    async def cut() -> object:
        return (await ground.store.move(move.id)).progress.get("cut")

    with step("Moving"):
        async with worker_process(task):
            now = await ground.comes_to(move.id, MoveState.SOAKING, within_s=ENDS_S)
            took_s = loop.time() - began_s
            await wait_until(cut, within_s=60, what="the mover's word of its pause")
    told = await cut()
    return Guess(
        rows, seen.rows, seen.size_bytes, seen.duration_s, round(took_s, 1), seen.pause_ms,
        told.get("pause_ms") if isinstance(told, Mapping) else None, now.state,
    )  # fmt: skip


async def guesses(sizes: Sequence[int]) -> tuple[list[Guess], str]:
    """One move of each size."""
    async with open_ground(CLUSTERS, settings=DISK) as ground:
        return [await guess(ground, rows) for rows in sizes], ground.registry.version


def report(found: Sequence[Guess], machine: Machine) -> None:
    """Print a table."""
    rows = [
        (
            f"{each.rows:,}", f"{each.told_rows:,}", f"{each.told_bytes / (1 << 20):,.0f}",
            f"{each.told_s:.1f}", f"{each.took_s:.1f}", f"{each.told_s / each.took_s:.2f}",
            f"{each.told_pause_ms:.0f}", "-" if each.pause_ms is None else f"{each.pause_ms:.0f}",
        )
        for each in found
    ]  # fmt: skip
    headings = ("rows", "told", "told MiB", "told s", "took s", "ratio", "told ms", "paused ms")
    print_table("A dry run, and the move; nobody asks meanwhile", machine, headings, rows, failures={})


async def run(options: argparse.Namespace) -> int:
    """Move, report; the status to end with."""
    found, postgres = await guesses(options.rows or SIZES)
    machine = describe_machine(postgres, _PACKAGES)
    if options.json:
        print(json.dumps({"moves": [asdict(each) for each in found], "machine": asdict(machine)}, indent=2))
    else:
        report(found, machine)
    return 0 if all(each.state == MoveState.SOAKING for each in found) else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.moves_estimate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--rows", type=int, action="append", help="of a tenant; repeatable (10,000 to 1,000,000)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
