"""A tenant that goes back after it has written at its new place: `make bench-moves-rollback`, two minutes.

A tenant is promoted out of the shared tables and writes at its new place through two gateways, for a minute
(ARGS='--minutes 60' for an hour); then it is rolled back. Then it is promoted for good, and demoted to the
shared tables. After each, both ends are judged while nobody writes. Ends with status 1 when a write was lost,
doubled or misplaced, something was left behind, or a request failed.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field

from bench.moves import DISK, PACKAGES, Moved, Show, forget, one_move
from bench.progress import step
from bench.report import Machine, describe_machine, print_table
from registry.moves import MoveState, Wanted
from tests.support.grounds import Course, open_ground
from tests.support.ledgers import open_ledger
from tests.support.load import longest_s

HOME, AWAY = "standard-a", "premium-a"
ENDS_S = 300.0
_SOAKS_S = 7 * 86_400.0
_LOOK_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Returned:
    """The way back.

    Attributes:
        state: What the move came to.
        writes: Acknowledged at the new place, all of which are to be found at the old one.
        took_s: From the operator's word to the end, everything at the new place removed.
        longest_ms: The longest request that was under way in that time.
        wrong: What the judge found, by kind.
        left: What was left behind at either end.
    """

    state: MoveState
    writes: int
    took_s: float
    longest_ms: float
    wrong: dict[str, int]
    left: list[str]


@dataclass(slots=True)
class Told:
    """What a run has to say: the way back, and the two moves after it."""

    back: Returned
    show: Show = field(default_factory=Show)

    @property
    def is_good(self) -> bool:
        """Whether all came to what it should, nothing is wrong and nothing failed."""
        is_back = self.back.state is MoveState.ROLLED_BACK and not self.back.wrong and not self.back.left
        return is_back and self.show.is_good


def written(course: Course) -> int:
    """Writes acknowledged so far."""
    return sum(len(book.acknowledged) for book in course.ledger.books.values())


async def there_and_back(course: Course, show: Show, seconds: float) -> Returned:
    """Promote the tenant, let it write, and roll it back."""
    ground, loop = course.ground, asyncio.get_running_loop()
    with step(f"To {AWAY}"):
        move = await course.begin(AWAY, soak_s=_SOAKS_S)
        await ground.comes_to(move.id, MoveState.SOAKING, within_s=ENDS_S)
    before, until_s = written(course), loop.time() + seconds
    with step(f"Writing there for {seconds / 60:.0f} min"):
        while (left_s := until_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
            forget(course.ledger, show)
    writes, began_s = written(course) - before, loop.time()
    with step("And back"):
        await ground.ask(move.id, Wanted.ROLLBACK)
        over = await ground.comes_to(move.id, within_s=ENDS_S)
    ended_s = loop.time()
    judged = await course.judged(went_and_returned=True)
    longest_ms = longest_s(course.ledger.during(began_s, ended_s)) * 1e3
    forget(course.ledger, show)
    wrong = {kind: count for kind, count in judged.verdict.counts().items() if count}
    return Returned(over.state, writes, round(ended_s - began_s, 2), round(longest_ms, 1), wrong, judged.left)


async def measure(options: argparse.Namespace) -> tuple[Told, str]:
    """The whole journey; and the version of Postgres."""
    show, began_s = Show(), time.monotonic()
    async with open_ground((HOME, AWAY), settings=DISK) as ground:
        tenant = await ground.create_tenant(HOME)
        async with (
            ground.gateways(options.gateways) as gateways,
            open_ledger(
                [each.url for each in gateways], ground.site.keys[tenant],
                clients=options.clients, every_s=options.every,
            ) as ledger,
        ):  # fmt: skip
            course = Course(ground, tenant, ledger)
            told = Told(await there_and_back(course, show, options.minutes * 60), show)
            for number, target in enumerate((AWAY, HOME), 1):
                with step(f"To {target}, for good"):
                    show.moves.append(await one_move(course, number, target))
                forget(ledger, show)
            show.writes = written(course)
            show.said = dict(ledger.said)
        version = ground.registry.version
    show.took_s = round(time.monotonic() - began_s, 1)
    return told, version


def report(told: Told, machine: Machine, options: argparse.Namespace) -> None:
    """Print a table."""

    def row(name: str, way: Returned | Moved) -> tuple[str, ...]:
        wrong = ", ".join(f"{kind}: {count}" for kind, count in way.wrong.items()) or "nothing"
        left = ", ".join(way.left) or "nothing"
        return name, way.state, f"{way.took_s:.1f}", f"{way.longest_ms:.0f}", wrong, left

    rows = [row(f"{AWAY} → {HOME}, rolled back", told.back)]
    rows += [row(f"{moved.source} → {moved.target}", moved) for moved in told.show.moves]
    headings = ("way", "came to", "s", "longest ms", "wrong", "left")
    remarks = [
        f"{told.back.writes:,} writes acknowledged at {AWAY} in {options.minutes:g} min, before the way back",
        f"{told.show.requests:,} requests in all, {told.show.writes:,} acknowledged writes",
        f"failed requests: {told.show.failed or 0}",
    ]
    title = f"{options.clients} clients, each asking every {options.every * 1e3:.0f} ms"
    print_table(title, machine, headings, rows, failures={"clients": told.show.failed}, remarks=remarks)
    for code, said in told.show.said.items():
        print(f"{code}: {said}", file=sys.stderr)


async def run(options: argparse.Namespace) -> int:
    """Measure, report; the status to end with."""
    told, postgres = await measure(options)
    machine = describe_machine(postgres, PACKAGES)
    if options.json:
        print(json.dumps({**asdict(told), "machine": asdict(machine)}, indent=2))
    else:
        report(told, machine, options)
    return 0 if told.is_good else 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.moves_rollback", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="of writes before the way back (1)")
    parser.add_argument("--clients", type=int, default=8, help="who write (8)")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between a client's requests (0.5)")
    parser.add_argument("--gateways", type=int, default=2, help="that serve (2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
