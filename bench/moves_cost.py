"""What others notice of a large tenant's move, and how fast it goes: `make bench-moves-cost` (two minutes).

Tenants of the shared tables are asked in rounds: before the move, and then by turns while it works and while
it is paused, so that whatever else the machine does falls on both. The tenant that moves is asked as well.
Rates are of the rounds in which the move worked. Beside it stands the same move by hand: COPY, and pg_dump
with pg_restore, while nobody writes. ARGS='--rows 1000000' for a million rows. Compare ratios, not numbers.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from statistics import median

from bench.by_hand import ByHand, copy_out_and_in, dump_and_restore
from bench.load import Call, Sample, Target, request, run_load
from bench.progress import step
from bench.report import Machine, describe_machine, print_table, quantile_ms
from bench.serving import HOST
from registry.moves import Move, MoveState
from tests.support.gateways import Serving
from tests.support.grounds import Ground, open_ground
from tests.support.postgres import run_sql
from tests.support.waiting import wait_until
from tests.support.workers import Task, worker_process
from tiergate.tenant import TenantId

CLUSTERS = ("standard-a", "premium-a", "premium-b")
IDLE = "tests.support.idle"
OTHERS, THEIR_ROWS = 8, 2_000
WRITES_EACH = 5
ENDS_S = 3600.0
DISK = {
    "fsync": "on", "full_page_writes": "on", "max_wal_size": "4GB", "shared_buffers": "256MB",
}  # fmt: skip
FILL = """
    INSERT INTO app.accounts (tenant_id, client) SELECT '{tenant}', n FROM generate_series(1, 100) n;
    INSERT INTO app.entries (tenant_id, client, number, body)
    SELECT '{tenant}', n % 100 + 1, n, repeat('x', 100) FROM generate_series(1, {rows}) n
"""
_READ = "SELECT id, serial, body FROM entries WHERE client = $1 AND number = $2"
_WRITE = "UPDATE accounts SET count = count + 1 WHERE client = $1"
_PACKAGES = ("psycopg", "asyncpg", "uvicorn", "httptools")
_MOVING = (MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFYING)


@dataclass(frozen=True, slots=True)
class Round:
    """Some seconds of load.

    Attributes:
        state: Of the move: "before", "paused", or what it did.
        done: Rows that it copied or compared meanwhile, a second.
    """

    state: str
    rate: float
    p50_ms: float
    p99_ms: float
    mover_rate: float
    mover_p99_ms: float
    done: float
    failures: dict[str, int]


@dataclass(slots=True)
class Cost:
    """All of it."""

    rows: int
    rounds: list[Round] = field(default_factory=list)
    state: str = ""
    took_s: float = 0.0
    pause_ms: float | None = None
    by_hand: list[ByHand] = field(default_factory=list)

    def median(self, name: str, *states: str) -> float:
        """The median of what *name* was in rounds of these states; NaN without any."""
        found = [getattr(each, name) for each in self.rounds if each.state in states]
        return median(found) if found else float("nan")


def call(gateway: Serving, key: str, query: str, params: Sequence[object], expected: bytes) -> Call:
    """A statement as a request."""
    body = json.dumps({"query": query, "params": params}).encode()
    headers = {"Authorization": f"Bearer {key}"}
    return Call(request("POST", "/sql", gateway.url.removeprefix("http://"), headers, body), expected)


def calls(ground: Ground, gateway: Serving, tenants: Sequence[TenantId], rows: int) -> Iterator[Call]:
    """Four reads of one row, and a write, by turns of the tenants."""
    for number in range(200):
        tenant = tenants[number % len(tenants)]
        key, n = ground.site.keys[tenant], number * 7919 % rows + 1
        if number % WRITES_EACH == 0:
            yield call(gateway, key, _WRITE, [n % 100 + 1], b'"UPDATE"')
        else:
            yield call(gateway, key, _READ, [n % 100 + 1, n], b"xxxx")


async def asked(others: Target, mover: Target, options: argparse.Namespace) -> tuple[Sample, Sample]:
    """One round of load of both."""
    return await asyncio.gather(
        run_load(others, connections=options.connections, seconds=options.seconds),
        run_load(mover, connections=1, seconds=options.seconds, every_s=0.02),
    )


def as_round(state: str, theirs: Sample, mine: Sample, done: float) -> Round:
    """What a round has come to."""
    return Round(
        state, theirs.rate, quantile_ms(theirs, 0.5), quantile_ms(theirs, 0.99),
        mine.rate, quantile_ms(mine, 0.99), done, theirs.failures | mine.failures,
    )  # fmt: skip


def rows_done(move: Move) -> tuple[int, int]:
    """Rows copied, and rows compared."""
    found = []
    for stage in ("copied", "verified"):
        told = move.progress.get(stage)
        found.append(int(told.get("rows", 0)) if isinstance(told, Mapping) else 0)
    return found[0], found[1]


async def measure(
    ground: Ground, others: Target, mover: Target, tenant: TenantId, options: argparse.Namespace, cost: Cost
) -> Move:
    """Rounds before, and by turns while the move works and rests; the move when it is over."""
    loop = asyncio.get_running_loop()
    for _ in range(options.rounds):
        cost.rounds.append(as_round("before", *await asked(others, mover, options), 0))
    move = await ground.plan(tenant, "premium-a")
    began_s = loop.time()
    log = ground.site.folder / f"{move.id}.log"
    task = Task(ground.site.registry_url, move.id, tenant, log)
    for turn in count():
        async with worker_process(task) as process:
            await ground.comes_to(move.id, *_MOVING, within_s=60)
            await asked(others, mover, options)  # does not count: a worker that has just begun finds its pace
            before = await ground.store.move(move.id)
            samples = await asked(others, mover, options)
            now = await ground.store.move(move.id)
            copied, compared = (
                after - first for first, after in zip(rows_done(before), rows_done(now), strict=True)
            )
            state = before.state if before.state is now.state else "several"
            done = (copied if state is MoveState.COPYING else compared) / options.seconds
            cost.rounds.append(as_round(state, *samples, done))
            if now.state not in _MOVING or turn + 1 >= options.turns:
                break
            await ground.store.ask_move(move.id, "pause", actor="bench")
            await wait_until(lambda: not process.is_alive(), within_s=60, what="the worker's rest")
        cost.rounds.append(as_round("paused", *await asked(others, mover, options), 0))
        await ground.store.ask_move(move.id, "resume", actor="bench")
    async with worker_process(task):
        over = await ground.comes_to(move.id, within_s=ENDS_S)
    cost.took_s = round(loop.time() - began_s, 1)
    return over


async def cost_of(options: argparse.Namespace) -> tuple[Cost, str]:
    """Fill, measure, and do it by hand."""
    cost = Cost(options.rows)
    async with open_ground(CLUSTERS, settings=DISK) as ground:
        others = [await ground.create_tenant("standard-a") for _ in range(OTHERS)]
        big = await ground.create_tenant("standard-a")
        place = await ground.place_of(big)
        with step(f"Writing {options.rows:,} rows"):
            for tenant, rows in (*((each, THEIR_ROWS) for each in others), (big, options.rows)):
                filling = FILL.format(tenant=tenant, rows=rows).split(";")
                await run_sql(place.conninfo, *filling)
            await run_sql(place.conninfo, "VACUUM ANALYZE app.entries", "CHECKPOINT")
        async with ground.gateways(1, program=IDLE) as [gateway]:
            port = int(gateway.url.rpartition(":")[2])
            theirs = Target("others", HOST, port, list(calls(ground, gateway, others, THEIR_ROWS)))
            mine = Target("mover", HOST, port, list(calls(ground, gateway, [big], options.rows)))
            with step("By hand, from the shared tables"):
                hand = await copy_out_and_in(place, ground.servers["premium-b"], ground.site.folder)
                cost.by_hand.append(hand)
            with step("Moving"):
                over = await measure(ground, theirs, mine, big, options, cost)
            cost.state = over.state
            cut = over.progress.get("cut")
            cost.pause_ms = cut.get("pause_ms") if isinstance(cut, Mapping) else None
        if over.state is MoveState.DONE:
            with step("By hand, the whole schema"):
                there = await ground.place_of(big)
                hand = await dump_and_restore(there, ground.servers["premium-b"], ground.site.folder)
                cost.by_hand.append(hand)
        version = ground.registry.version
    return cost, version


def report(cost: Cost, machine: Machine, options: argparse.Namespace) -> None:
    """Print a table."""
    states = ["before", "paused", *(state for state in (*_MOVING, "several"))]
    base = cost.median("rate", "paused")
    rows = [
        (
            state,
            str(sum(each.state == state for each in cost.rounds)),
            f"{cost.median('rate', state):,.0f}",
            f"{cost.median('rate', state) / base:.2f}",
            f"{cost.median('p50_ms', state):.1f}",
            f"{cost.median('p99_ms', state):.1f}",
            f"{cost.median('mover_rate', state):,.0f}",
            f"{cost.median('mover_p99_ms', state):.1f}",
            f"{cost.median('done', state):,.0f}",
        )
        for state in states
        if any(each.state == state for each in cost.rounds)
    ]
    headings = (
        "the move", "rounds", "others/s", "ratio", "p50 ms", "p99 ms", "mover's/s", "p99 ms", "rows/s",
    )  # fmt: skip
    remarks = [
        f"the move of {cost.rows:,} rows: {cost.state} after {cost.took_s:.0f} s, pauses included",
        f"its tenant waited {cost.pause_ms} ms",
        *(f"by hand with {each.how}: nobody writes for {each.outage_s:.1f} s" for each in cost.by_hand),
    ]
    failures: dict[str, int] = {}
    for each in cost.rounds:
        for reason, times in each.failures.items():
            failures[reason] = failures.get(reason, 0) + times
    title = f"{options.connections} callers of {OTHERS} other tenants, {options.seconds:g} s a round; medians"
    print_table(title, machine, headings, rows, failures={"callers": failures}, remarks=remarks)


async def run(options: argparse.Namespace) -> int:
    """Measure, report; the status to end with."""
    cost, postgres = await cost_of(options)
    machine = describe_machine(postgres, _PACKAGES)
    if options.json:
        print(json.dumps({**asdict(cost), "machine": asdict(machine)}, indent=2))
    else:
        report(cost, machine, options)
    return 0 if cost.state == MoveState.DONE and not any(each.failures for each in cost.rounds) else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.moves_cost", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=200_000, help="of the tenant that moves (200,000)")
    parser.add_argument("--connections", type=int, default=8, help="callers of the others (8)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round (3)")
    parser.add_argument("--rounds", type=int, default=3, help="before the move (3)")
    parser.add_argument("--turns", type=int, default=12, help="times that it works and rests, at most (12)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
