"""What the guard costs: `python -m bench.guard`; whether anything breaks it: `python -m bench.guard fuzz`.

The first prints the time of a verdict for a simple and an involved statement, judged for the first
time and remembered, and the longest that any text made to harm the reader takes. The second judges
damaged statements in a process that may be lost, with little stack and bounded memory; it ends with
status 1 when that process was lost or stood still, or met an error that is not the guard's own.
"""

import argparse
import multiprocessing
import random
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from ctypes import c_char
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any

from bench.report import describe_machine
from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementNotPassed
from guard.measure import MOST_BYTES
from guard.verdict import Guard
from tests.support.bombs import KINDS, MEMORY_BYTES, SIZES, STACK_BYTES, bomb
from tests.support.hostile import hostile
from tests.support.passing import PASSING
from tiergate.tenant import Tier

SIMPLE = "SELECT id, email, name, joined_at FROM members WHERE id = $1"
INVOLVED = """
WITH recent AS (
    SELECT m.id, m.team_id, count(*) FILTER (WHERE e.kind = 'login') AS logins, max(e.at) AS last
    FROM members m JOIN events e ON e.member_id = m.id
    WHERE e.at > now() - interval '7 days' AND m.active GROUP BY m.id, m.team_id
), ranked AS (
    SELECT r.*, row_number() OVER (PARTITION BY r.team_id ORDER BY r.logins DESC, r.last) AS place
    FROM recent r
)
SELECT t.name, x.id, x.logins, coalesce(x.last, t.created_at)::date AS day,
    jsonb_build_object('logins', x.logins, 'place', x.place) AS facts,
    CASE WHEN x.logins > 10 THEN 'many' WHEN x.logins > 3 THEN 'some' ELSE 'few' END AS much
FROM ranked x JOIN teams t ON t.id = x.team_id
    LEFT JOIN LATERAL (
        SELECT a.label FROM awards a WHERE a.member_id = x.id ORDER BY a.at DESC LIMIT 1
    ) w ON true
WHERE x.place <= $1 AND t.region IN ('eu', 'us') AND (w.label IS NULL OR w.label ILIKE $2 || '%')
ORDER BY t.name COLLATE "C", x.place LIMIT 50 OFFSET $3
"""
STANDS_STILL_S = 10.0
ROUNDS = 30
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")


def guard() -> Guard:
    """With the lists of the standard tier, and nothing added."""
    lists = catalog(Additions(), schemas=frozenset({"public", "app"}), explain=True)
    return Guard({Tier.STANDARD: lists})


def best_us(work: Callable[[], object], times: int) -> float:
    """The quickest round, in microseconds for each call: what others do on the machine only adds."""
    rounds = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - started_s) / times * 1e6)
    return min(rounds)


def is_passed(judged: Guard, text: str) -> bool:
    """Whether the guard passes it; any error that is not its own is raised."""
    try:
        judged.judge(text, Tier.STANDARD)
    except StatementNotPassed:
        return False
    return True


def report_speed() -> None:
    """Print what a verdict takes."""
    judged = guard()
    print(describe_machine("none", ("postgast", "orjson")))
    for name, text in (("simple", SIMPLE), ("involved", INVOLVED)):
        # A comment makes a text new; so many are judged that none is remembered.
        numbers = iter(range(10_000_000))
        cold_us = best_us(lambda t=text, n=numbers: judged.judge(f"{t} --{next(n)}", Tier.STANDARD), 100)  # type: ignore[misc]
        cached_us = best_us(lambda t=text: judged.judge(t, Tier.STANDARD), 5_000)  # type: ignore[misc]
        print(f"{name:10} {len(text):5} characters   cold {cold_us:7.1f} µs   remembered {cached_us:5.2f} µs")
    worst = (0.0, "", 0)
    for kind in KINDS:
        for size in SIZES:
            text = bomb(kind, size)
            started_s = time.perf_counter()
            is_passed(judged, text)
            worst = max(worst, (time.perf_counter() - started_s, kind, size))
    print(
        f"{len(KINDS)} kinds of bombs of {len(SIZES)} sizes:"
        f" at worst {worst[0] * 1e3:.0f} ms ({worst[1]}, {worst[2]})"
    )


def damage(chance: random.Random, texts: Sequence[str]) -> str:
    """A text made of others: pieces exchanged, left out, doubled, or repeated until it is long."""
    pieces = _PIECE.findall(chance.choice(texts))
    for _ in range(1 + int(chance.expovariate(1.0))):
        at, length = chance.randrange(len(pieces) + 1), chance.randint(1, 8)
        match chance.randrange(6):
            case 0:
                del pieces[at : at + length]
            case 1:
                pieces[at:at] = _PIECE.findall(chance.choice(texts))[: length * 3]
            case 2:
                pieces.insert(at, chance.choice(pieces) if pieces else "(")
            case 3:
                times = int(2 ** chance.uniform(1, 14))
                room = 2 * MOST_BYTES // (sum(map(len, pieces[at : at + length])) + 1)
                pieces[at : at + length] = pieces[at : at + length] * min(times, room)
            case 4:
                pieces.insert(at, chr(chance.choice((0, 9, 39, 36, 40, 41, 91, 0xE4, 0x2028, 0x1F600))))
            case _:
                there = chance.randrange(len(pieces) + 1)
                pieces[at:there] = pieces[at:there][::-1]
    return "".join(pieces)[: 2 * MOST_BYTES]


class Shared:
    """What the judging process tells, readable even when it is gone."""

    def __init__(self) -> None:
        # ctypes' arrays and values carry no types.
        self.text: Any = RawArray(c_char, 9 * MOST_BYTES)
        self.slowest: Any = RawArray(c_char, 9 * MOST_BYTES)
        self.cases: Any = RawValue("Q")
        self.passed: Any = RawValue("Q")
        self.slowest_s: Any = RawValue("d")
        self.memory_kib: Any = RawValue("Q")
        self.is_done: Any = RawValue("b")

    def judge_all(self, seed: int, seconds: float) -> None:
        """In the other process: judge damaged texts until the time is over."""
        chance, judged, texts = random.Random(seed), guard(), (*PASSING, *hostile()[::20], INVOLVED)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            text = damage(chance, texts)
            self.text.value = text.encode(errors="surrogatepass").replace(b"\0", b"<NUL>")
            started_s = time.perf_counter()
            self.passed.value += is_passed(judged, text)
            taken_s = time.perf_counter() - started_s
            if taken_s > self.slowest_s.value:
                self.slowest_s.value, self.slowest.value = taken_s, self.text.value
            self.cases.value += 1
        self.memory_kib.value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.is_done.value = 1


def in_little_room(shared: Shared, seed: int, seconds: float) -> None:
    """The other process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=shared.judge_all, args=(seed, seconds))
    thread.start()
    thread.join()


def fuzz(seconds: float, seed: int) -> int:
    """Judge damaged texts, and say what was the worst; the status to end with."""
    shared = Shared()
    process = multiprocessing.get_context("fork").Process(target=in_little_room, args=(shared, seed, seconds))
    process.start()
    before, stands_still = -1, False
    while process.is_alive() and not stands_still:
        process.join(STANDS_STILL_S)
        stands_still = process.is_alive() and shared.cases.value == before
        before = shared.cases.value
    if stands_still:
        process.kill()
        process.join()
    print(
        f"seed {seed}: {shared.cases.value} texts, {shared.passed.value} passed,"
        f" {shared.memory_kib.value} KiB at most"
    )
    print(f"slowest {shared.slowest_s.value * 1e3:.0f} ms: {shared.slowest.value[:200]!r}")
    if shared.is_done.value:
        return 0
    how = "it stood still" if stands_still else f"the process ended with {process.exitcode}"
    print(f"LOST, {how}: {shared.text.value!r}")
    return 1


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command")
    fuzzing = commands.add_parser("fuzz", help="judge damaged statements")
    fuzzing.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    fuzzing.add_argument("--seed", type=int, default=1, help="other seeds give other texts (1)")
    options = parser.parse_args()
    if options.command == "fuzz":
        sys.exit(fuzz(options.seconds, options.seed))
    report_speed()


if __name__ == "__main__":
    main()
