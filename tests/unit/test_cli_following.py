"""When nothing more is to be expected of a move, and how far it is, in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiergate.cli.following import is_at_rest, progress, size

LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
EARLIER = "2026-03-01T12:00:00Z"


def move(state: str, **said: object) -> dict[str, Any]:
    return {
        "tenant": "acme", "state": state, "is_over": state in {"done", "aborted", "rolled_back"},
        "is_paused": False, "wanted": None, "hold": False, "at": None, "worker": "gw 1", "error": None,
        "progress": {},
    } | said  # fmt: skip


@pytest.mark.parametrize(
    ("found", "rests"),
    [
        (move("copying"), False),
        (move("copying", is_paused=True), True),
        (move("copying", is_paused=True, wanted="abort"), False),
        (move("ready"), False),
        (move("ready", hold=True), True),
        (move("ready", hold=True, wanted="cutover"), False),
        (move("ready", at=LATER), True),
        (move("ready", at=EARLIER), False),
        (move("soaking", soaks_until=LATER), True),
        (move("soaking", soaks_until=EARLIER), False),
        (move("soaking", wanted="rollback"), False),
        (move("cleaning"), False),
        (move("done"), True),
        (move("aborted"), True),
    ],
)
def test_a_move_rests_when_nothing_happens_to_it_by_itself(found: dict[str, Any], *, rests: bool) -> None:
    assert is_at_rest(found) is rests


def test_how_far_a_move_is_fits_on_a_line() -> None:
    copied = {"copied": {"rows": 1200, "size_bytes": 3 * 1024 * 1024}}

    assert progress(move("copying", progress=copied)) == "acme: copying, 1200 rows, 3.0 MiB"
    assert progress(move("catching_up", progress={"changed": 7})) == (
        "acme: catching up, 7 changed rows in the last pass"
    )
    assert progress(move("planned", worker=None)) == "acme: planned, waiting for a worker"
    assert progress(move("copying", error="no answer")) == "acme: copying, trying again: no answer"


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (1 << 52, "4096.0 TiB")],
)
def test_a_size_is_told_in_its_unit(size_bytes: int, said: str) -> None:
    assert size(size_bytes) == said
