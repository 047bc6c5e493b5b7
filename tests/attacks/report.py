"""`python -m tests.attacks.report`: every attack in every arm, on one version of Postgres.

TIERGATE_TEST_POSTGRES chooses the version. With --wins, what succeeds against the usual way is
written to `data/*.wins`, but for what did not on a version that was tried before.
"""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

from tests.attacks.arms import ARMS, Arm, run_all
from tests.attacks.attack import Attack
from tests.attacks.ring import Outcome, Verdict
from tests.support.postgres import chosen_binaries, open_test_cluster
from tiergate.tenant import Tier

_DATA = Path(__file__).parent / "data"


async def report(arms: tuple[Arm, ...], *, wins: bool) -> None:
    """Run and print."""
    began = time.monotonic()
    print(f"PostgreSQL {chosen_binaries().version}")
    print(f"{'arm':<10} {'tier':<11} {'attacks':>7} {'contained':>9} {'leaked':>7} {'disturbed':>9}   s")
    lines: list[str] = []
    async with open_test_cluster() as server:
        for arm, tier in ((each, tier) for each in arms for tier in each.tiers):
            started = time.monotonic()
            outcomes = await run_all(server, arm, tier)
            count = Counter(outcome.verdict for outcome in outcomes.values())
            figures = f"{len(outcomes):>7} {count[Verdict.CONTAINED]:>9} {count[Verdict.LEAKED]:>7}"
            took = f"{count[Verdict.DISTURBED]:>9} {time.monotonic() - started:4.0f}"
            print(f"{arm.name:<10} {tier:<11} {figures} {took}", flush=True)
            lines += [f"{arm.name:<9} {tier:<11} {line}" for line in _told(arm, outcomes)]
            if wins and arm.name == "plain":
                _write(tier, outcomes)
    print(f"{time.monotonic() - began:.0f} s\n")
    print("\n".join(lines))


def _told(arm: Arm, outcomes: dict[Attack, Outcome]) -> list[str]:
    return [
        f"{outcome.verdict}{' (known)' if arm.holds(attack, outcome) else ''}: {attack.id}:"
        f" {' '.join(outcome.why.split())[:160]}"
        for attack, outcome in outcomes.items()
        if outcome.verdict is not Verdict.CONTAINED
    ]


def _write(tier: Tier, outcomes: dict[Attack, Outcome]) -> None:
    """Keep those that succeed on every version."""
    won = {attack.id for attack, outcome in outcomes.items() if outcome.verdict is not Verdict.CONTAINED}
    path = _DATA / f"{tier}.wins"
    if path.exists():
        won &= set(path.read_text(encoding="utf-8").splitlines())
    path.write_text("\n".join(sorted(won)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    words = set(sys.argv[1:])
    chosen = tuple(arm for arm in ARMS if arm.name in words) or ARMS
    asyncio.run(report(chosen, wins="--wins" in words))
