"""Texts made to harm the reader: the guard answers each of them, in bounded time, memory and stack."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.bombs import KINDS, SIZES, bomb

ROOT = Path(__file__).parents[2]
ANSWERS = {
    "passed",
    "statement-forbidden",
    "statement-refused",
    "statement-too-complex",
    "statement-unreadable",
}
LONGEST_S = 3.0  # ten times what the slowest took on two shared cores
# What happens without the guard within so many seconds.
PATIENCE_S = 2.0
HARM = (
    ("plus", 65_000),
    ("cast", 65_000),
    ("suffix of joined operators", 65_000),
    ("prefix operator", 18_000),
    ("array", 18_000),
    ("set, doubling", 2_000),
    ("set, doubling queries", 2_000),
    ("set, doubling behind comments", 2_000),
    ("set, wide", 65_000),
    ("set, wide and deep", 2_000),
    ("operators, one kind", 65_000),
    ("operators", 65_000),
    ("comment openings", 200_000),
)


def read(how: str, wanted: Sequence[tuple[str, int]], within_s: float) -> tuple[int, str]:
    """How the process ended, and what it said until then.

    Raises:
        subprocess.TimeoutExpired: It did not end.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bombs", how],
        input="".join(f"{json.dumps(each)}\n" for each in wanted),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    return done.returncode, done.stdout


def test_every_bomb_is_answered_in_time_within_1_mib_of_stack() -> None:
    wanted = [(kind, size) for kind in KINDS for size in SIZES]

    status, said = read("guarded", wanted, 300)
    answers = [json.loads(line) for line in said.splitlines()]

    assert len(KINDS) > 100
    assert [(kind, size) for kind, size, *_ in answers] == wanted, f"lost at {wanted[len(answers)]}"
    assert status == 0
    assert {answer for _, _, answer, _ in answers} <= ANSWERS
    assert [each for each in answers if each[3] > LONGEST_S] == []


@pytest.mark.parametrize(("kind", "size"), HARM)
def test_without_the_guard_the_reader_is_lost(kind: str, size: int) -> None:
    """Else nothing would be shown by the test above."""
    try:
        status, said = read("bare", [(kind, size)], PATIENCE_S)
    except subprocess.TimeoutExpired:
        return

    assert status != 0 or not said


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_has_about_the_size_that_was_asked_for(kind: str) -> None:
    assert 0.8 < len(bomb(kind, 8_000)) / 8_000 < 1.2
