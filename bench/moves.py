"""Tenants who move while they write: `make bench-moves`, ten moves in three minutes (ARGS='--moves 200').

Clients append numbered entries through two gateways and remember what was acknowledged; meanwhile their
tenant is moved in every direction in turn, by the workers inside the gateways, and after ten moves it is
another tenant's turn. After each move both ends are judged while nobody writes. Beside the longest request
around each cut-over stands the longest in a time as long in which nothing moved, and what the mover itself
says of its pause. Servers write to the disk as in production. Told to stop (SIGINT, SIGTERM), it says what
the moves so far came to. Ends with status 1 when a write was lost, doubled or misplaced, something was left
behind, or a request failed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from bench.progress import step, until_stopped
from bench.report import Machine, describe_machine, print_table
from registry.moves import Move, MoveState
from tests.support.grounds import Course, Ground, open_ground
from tests.support.ledgers import Ledger, open_ledger
from tests.support.load import Asked, codes, longest_s

CLUSTERS = ("standard-a", "standard-b", "premium-a", "premium-b", "government-a", "government-b")
ROUTE = (
    "premium-a", "premium-b", "government-a", "government-b", "premium-a", "standard-b", "government-a",
    "standard-a", "standard-b", "standard-a",
)  # fmt: skip
"""From standard-a on: each of the nine directions between tiers, and home again."""
QUIET_S, AFTER_S = 1.0, 0.5
ENDS_S = 180.0
DISK = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
PACKAGES = ("psycopg", "asyncpg", "uvicorn", "httptools")


@dataclass(frozen=True, slots=True)
class Moved:
    """One move.

    Attributes:
        state: What it came to.
        pause_ms: From the hold to its end, and locked_ms of it under the tenant's lock; the mover's own word.
        longest_ms: The longest request that was under way at the cut-over.
        quiet_ms: The longest in a time as long, before the move.
        wrong: What the judge found, by kind.
        left: What was left behind at either end.
    """

    number: int
    source: str
    target: str
    state: MoveState
    attempts: int
    took_s: float
    pause_ms: float | None
    locked_ms: float | None
    longest_ms: float
    quiet_ms: float
    wrong: dict[str, int]
    left: list[str]


@dataclass(slots=True)
class Show:
    """What the moves of a run say together."""

    moves: list[Moved] = field(default_factory=list)
    requests: int = 0
    writes: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0

    @property
    def wrong(self) -> dict[str, int]:
        """What the judge found after any of them."""
        total: Counter[str] = Counter()
        for moved in self.moves:
            total.update(moved.wrong)
        return dict(total)

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong, nothing failed and every move was made."""
        made = all(moved.state is MoveState.DONE and not moved.left for moved in self.moves)
        return made and not any(self.wrong.values()) and not self.failed


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """p50, p99 and the most of them, by nearest rank."""
    ordered = sorted(values) or [float("nan")]
    return median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], ordered[-1]


async def cut_window(ground: Ground, move: Move, clock_s: float) -> tuple[float, float, int]:
    """When the last attempt at the cut-over began and when it was published, and how many there were.

    Args:
        clock_s: What the event loop's clock is behind the registry's.
    """
    steps = await ground.store.move_steps(move.id)
    began = [each.at for each in steps if each.state is MoveState.CUTTING_OVER]
    ended = [each.at for each in steps if each.state is MoveState.SOAKING]
    if not began or not ended:
        return 0.0, 0.0, len(began)
    return began[-1].timestamp() - clock_s, ended[0].timestamp() - clock_s, len(began)


async def pauses(ground: Ground, move: Move) -> tuple[float | None, float | None]:
    """What the mover says of its cut-over: held and locked, in milliseconds."""
    for each in reversed(await ground.store.move_steps(move.id)):
        progress = each.detail.get("progress")
        if isinstance(progress, dict) and isinstance(cut := progress.get("cut"), dict):
            return cut.get("pause_ms"), cut.get("locked_ms")
    return None, None


async def one_move(course: Course, number: int, target: str) -> Moved:
    """Move the tenant to *target*, and judge."""
    ground, ledger, loop = course.ground, course.ledger, asyncio.get_running_loop()
    before = await ground.store.route(course.tenant)
    quiet_from_s = loop.time()
    await asyncio.sleep(QUIET_S)
    began_s, clock_s = loop.time(), time.time() - loop.time()
    move = await course.begin(target)
    over = await ground.comes_to(move.id, within_s=ENDS_S)
    took_s = loop.time() - began_s
    from_s, until_s, attempts = await cut_window(ground, over, clock_s)
    await asyncio.sleep(AFTER_S)
    judged = await course.judged()
    pause_ms, locked_ms = await pauses(ground, over)
    return Moved(
        number=number, source=before.place.cluster if before else "?", target=target, state=over.state,
        attempts=attempts, took_s=round(took_s, 2), pause_ms=pause_ms, locked_ms=locked_ms,
        longest_ms=_longest_ms(ledger.during(from_s, until_s)),
        quiet_ms=_longest_ms(ledger.during(quiet_from_s, quiet_from_s + (until_s - from_s))),
        wrong={kind: count for kind, count in judged.verdict.counts().items() if count},
        left=judged.left,
    )  # fmt: skip


def _longest_ms(asked: Sequence[Asked]) -> float:
    return round(longest_s(asked) * 1e3, 1)


def forget(ledger: Ledger, show: Show) -> None:
    """Count what has ended, and forget it, so that a long run takes no room."""
    show.requests += len(ledger.asked)
    for code, count in codes(ledger.failed()).items():
        show.failed[code] = show.failed.get(code, 0) + count
    ledger.asked.clear()


async def show_moves(options: argparse.Namespace) -> tuple[Show, str]:
    """Every move in turn; each tenant goes the whole way, so that no ledger grows without end."""
    show, began_s = Show(), time.monotonic()
    async with open_ground(CLUSTERS, settings=DISK) as ground:
        async with ground.gateways(options.gateways) as gateways, until_stopped():
            while len(show.moves) < options.moves and all(
                each.state is MoveState.DONE for each in show.moves
            ):
                await show_way(ground, [each.url for each in gateways], show, options)
        version = ground.registry.version
    show.took_s = round(time.monotonic() - began_s, 1)
    return show, version


async def show_way(ground: Ground, urls: Sequence[str], show: Show, options: argparse.Namespace) -> None:
    """A new tenant's moves along ROUTE, as many as are left, until one is not made."""
    tenant = await ground.create_tenant("standard-a")
    async with open_ledger(
        urls, ground.site.keys[tenant], clients=options.clients, every_s=options.every
    ) as ledger:
        course = Course(ground, tenant, ledger)
        try:
            for target in ROUTE[: options.moves - len(show.moves)]:
                number = len(show.moves) + 1
                with step(f"Move {number} of {options.moves}, to {target}"):
                    moved = await one_move(course, number, target)
                show.moves.append(moved)
                forget(ledger, show)
                if moved.state is not MoveState.DONE:
                    break
        finally:
            forget(ledger, show)
            show.writes += sum(len(book.acknowledged) for book in ledger.books.values())
            show.said.update(ledger.said)


def report(show: Show, machine: Machine, options: argparse.Namespace) -> None:
    """Print tables."""
    ways: dict[tuple[str, str], list[Moved]] = {}
    for moved in show.moves:
        way = (moved.source.partition("-")[0], moved.target.partition("-")[0])
        ways.setdefault(way, []).append(moved)
    headings = ("way", "moves", "s", "attempts", "pause ms", "locked ms", "longest ms", "quiet ms")
    rows = [
        (
            f"{source} → {target}",
            str(len(moves)),
            f"{median(moved.took_s for moved in moves):.1f}",
            f"{sum(moved.attempts for moved in moves) / len(moves):.1f}",
            *(
                f"{median(value for moved in moves if (value := getattr(moved, name)) is not None):.0f}"
                if any(getattr(moved, name) is not None for moved in moves)
                else "-"
                for name in ("pause_ms", "locked_ms", "longest_ms", "quiet_ms")
            ),
        )
        for (source, target), moves in ways.items()
    ]
    spread = [
        f"{name}: p50 {p50:.0f}, p99 {p99:.0f}, most {most:.0f} ms"
        for name, values in _spreads(show).items()
        for p50, p99, most in [quantiles(values)]
    ]
    left = sorted({what for moved in show.moves for what in moved.left})
    remarks = [
        *spread,
        f"{show.requests:,} requests, {show.writes:,} acknowledged writes",
        f"judged after each move, wrong: {show.wrong or 'nothing'}",
        f"left behind: {', '.join(left) or 'nothing'}",
        f"failed requests: {show.failed or 0}",
    ]
    title = (
        f"{len(show.moves)} moves, {options.clients} clients each asking every {options.every * 1e3:.0f} ms "
        f"through {options.gateways} gateways; medians"
    )
    print_table(title, machine, headings, rows, failures={"clients": show.failed}, remarks=remarks)
    for code, said in show.said.items():
        print(f"{code}: {said}", file=sys.stderr)


def _spreads(show: Show) -> dict[str, list[float]]:
    return {
        "mover's pause": [moved.pause_ms for moved in show.moves if moved.pause_ms is not None],
        "under the lock": [moved.locked_ms for moved in show.moves if moved.locked_ms is not None],
        "longest request at the cut-over": [moved.longest_ms for moved in show.moves],
        "longest request in a quiet time as long": [moved.quiet_ms for moved in show.moves],
    }


async def run(options: argparse.Namespace) -> int:
    """Move, report; the status to end with."""
    show, postgres = await show_moves(options)
    machine = describe_machine(postgres, PACKAGES)
    if options.json:
        facts = {**asdict(show), "wrong": show.wrong, "machine": asdict(machine)}
        facts["spread"] = {name: quantiles(values) for name, values in _spreads(show).items()}
        print(json.dumps(facts, indent=2))
    else:
        report(show, machine, options)
    return 0 if show.is_good else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.moves", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--moves", type=int, default=len(ROUTE), help=f"how many ({len(ROUTE)})")
    parser.add_argument("--clients", type=int, default=8, help="who write (8)")
    parser.add_argument(
        "--every", type=float, default=0.04, help="seconds between a client's requests (0.04)"
    )
    parser.add_argument("--gateways", type=int, default=2, help="that serve (2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
