"""Whoever meets a finding or a state of a move finds it explained."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moves.evidence import Cutover, Servers, record
from moves.finding import KINDS
from registry.moves import Move, MoveId, MoveState, Spot, Timing
from registry.placement import PlaceId
from tiergate.tenant import TenantId, Tier

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "moves.md").read_text(encoding="utf-8")
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FINDINGS = re.findall(r"^\| `([a-z-]+)` \| (yes|no) \| (.+) \|$", REFERENCE, re.MULTILINE)


def test_every_finding_is_explained_with_its_weight_and_its_cure() -> None:
    assert [(code, forbids) for code, forbids, _ in FINDINGS] == [
        (code, "yes" if kind.forbids else "no") for code, kind in KINDS.items()
    ]
    assert [code for code, _, said in FINDINGS if KINDS[code].cure not in said] == []


@pytest.mark.parametrize("state", MoveState)
def test_every_state_is_explained(state: MoveState) -> None:
    assert f"\n| `{state}` | " in REFERENCE


def test_every_member_of_the_evidence_is_explained() -> None:
    spot = Spot(PlaceId("pl_x"), Tier.STANDARD, "standard-1")
    move = Move(
        MoveId("m"), TenantId("acme"), MoveState.SOAKING, spot, spot, 1, Timing(), "ann", MOMENT, MOMENT
    )
    said = record(move, cutover=Cutover(2, 1, 40, 3), tables=[], servers=Servers("18.1", "18.1"))
    section = REFERENCE.split("## Evidence")[1]

    assert [name for name in said if f"`{name}`" not in section] == []
