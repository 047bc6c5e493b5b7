"""What comes next in a move, for every state, wish and error."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.errors import ClusterUnreachable, FenceConflict, ProvisioningFailed, ProvisioningTimeout
from moves.errors import CutoverMissed, MoveSuperseded, RowsDiffer, StructureChanged
from moves.states import Reaction, after, asked, end_of, rest_s
from observe.moves import STATES
from registry.errors import MoveLost, RegistryFailed, RegistryUnavailable
from registry.moves import Move, MoveId, MoveState, Spot, Timing, Wanted
from registry.placement import PlaceId
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId, Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACME = TenantId("acme")
BEFORE = [state for state in MoveState if state.is_before_cutover]
MOVE = Move(
    id=MoveId("m"),
    tenant=ACME,
    state=MoveState.READY,
    source=Spot(PlaceId("pl_a"), Tier.STANDARD, "a"),
    target=Spot(PlaceId("pl_b"), Tier.PREMIUM, "b"),
    epoch=1,
    timing=Timing(),
    actor="somebody",
    created_at=NOW,
    changed_at=NOW,
)


def move(state: MoveState, wanted: Wanted | None = None, timing: Timing = MOVE.timing) -> Move:
    return replace(MOVE, state=state, wanted=wanted, timing=timing)


# -- wishes and the clock


def test_a_planned_move_begins_by_itself() -> None:
    assert asked(move(MoveState.PLANNED), NOW) is MoveState.PREPARING


@pytest.mark.parametrize("state", [*BEFORE, MoveState.CUTTING_OVER])
def test_until_the_cut_over_a_move_can_be_aborted(state: MoveState) -> None:
    assert asked(move(state, Wanted.ABORT), NOW) is MoveState.ABORTING


@pytest.mark.parametrize("state", [MoveState.SOAKING, MoveState.RETURNING, MoveState.CLEANING])
def test_after_the_cut_over_it_cannot_be_aborted(state: MoveState) -> None:
    assert asked(move(state, Wanted.ABORT), NOW) is not MoveState.ABORTING


@pytest.mark.parametrize(
    ("wanted", "timing", "goes"),
    [
        (None, Timing(), True),
        (None, Timing(holds=True), False),
        (None, Timing(cut_at=NOW + timedelta(seconds=1)), False),
        (None, Timing(cut_at=NOW), True),
        (Wanted.CUTOVER, Timing(holds=True), True),
        (Wanted.CUTOVER, Timing(cut_at=NOW + timedelta(days=1)), True),
    ],
)
def test_a_move_that_is_ready_is_cut_over_when_it_may_be(
    wanted: Wanted | None, timing: Timing, *, goes: bool
) -> None:
    expected = MoveState.CUTTING_OVER if goes else None

    assert asked(move(MoveState.READY, wanted, timing), NOW) is expected


@pytest.mark.parametrize(
    ("wanted", "soaked_s", "expected"),
    [
        (None, 59, None),
        (None, 60, MoveState.CLEANING),
        (Wanted.CLEANUP, 0, MoveState.CLEANING),
        (Wanted.ROLLBACK, 59, MoveState.RETURNING),
        (Wanted.ROLLBACK, 61, MoveState.RETURNING),
        (Wanted.CUTOVER, 0, None),
    ],
)
def test_a_move_soaks_until_its_time_is_over_or_somebody_decides(
    wanted: Wanted | None, soaked_s: int, expected: MoveState | None
) -> None:
    soaking = replace(move(MoveState.SOAKING, wanted, Timing(soak_s=60)), cut_over_at=NOW)

    assert asked(soaking, NOW + timedelta(seconds=soaked_s)) is expected


@pytest.mark.parametrize(
    ("state", "cut_over_at", "expected"),
    [
        (MoveState.CLEANING, NOW, MoveState.DONE),
        (MoveState.ABORTING, NOW, MoveState.ROLLED_BACK),
        (MoveState.ABORTING, None, MoveState.ABORTED),
    ],
)
def test_how_a_move_ends(state: MoveState, cut_over_at: datetime | None, expected: MoveState) -> None:
    assert end_of(replace(MOVE, state=state, cut_over_at=cut_over_at)) is expected


# -- errors

DIFFERS = RowsDiffer(ACME, "members", "(1)")
CHANGED = StructureChanged(ACME, "other tables")
MISSED = CutoverMissed(ACME, "busy")
SUPERSEDED = MoveSuperseded("m")
ASTRAY = FenceConflict(ACME, "here", "there")
PASSING = [
    ClusterUnreachable("a", "gone"),
    ProvisioningTimeout("a", "move"),
    RegistryUnavailable("gone"),
    RegistryFailed("42501", "no"),
    ProvisioningFailed("a", "move", "40P01", "deadlock"),
    ProvisioningFailed("a", "move", "40001", "serialization"),
]


@pytest.mark.parametrize("state", MoveState)
def test_whoever_has_lost_a_move_leaves_it(state: MoveState) -> None:
    assert after(MoveLost("m"), move(state)) is Reaction.LOST


@pytest.mark.parametrize("error", PASSING, ids=str)
@pytest.mark.parametrize("state", [state for state in MoveState if not state.is_over])
def test_what_passes_is_waited_for_in_every_state(error: TiergateError, state: MoveState) -> None:
    assert after(error, move(state)) is Reaction.RETRY


@pytest.mark.parametrize("error", [DIFFERS, CHANGED])
@pytest.mark.parametrize("state", [*BEFORE, MoveState.CUTTING_OVER])
def test_a_copy_that_is_not_right_is_never_cut_over_to(error: TiergateError, state: MoveState) -> None:
    assert after(error, move(state)) is Reaction.ABORT


@pytest.mark.parametrize("error", [DIFFERS, CHANGED])
def test_a_tenant_does_not_return_to_what_is_not_right(error: TiergateError) -> None:
    assert after(error, move(MoveState.RETURNING)) is Reaction.SOAK


@pytest.mark.parametrize("error", [MISSED, SUPERSEDED])
def test_an_attempt_that_was_missed_is_put_off(error: TiergateError) -> None:
    assert after(error, move(MoveState.CUTTING_OVER)) is Reaction.PUT_OFF


@pytest.mark.parametrize("state", BEFORE)
def test_a_place_whose_guard_is_gone_is_prepared_again(state: MoveState) -> None:
    assert after(SUPERSEDED, move(state)) is Reaction.PREPARE


@pytest.mark.parametrize("error", [DIFFERS, CHANGED, ASTRAY, SUPERSEDED])
@pytest.mark.parametrize("state", [MoveState.SOAKING, MoveState.CLEANING, MoveState.ABORTING])
def test_what_is_left_to_do_after_the_decision_is_tried_for_ever(
    error: TiergateError, state: MoveState
) -> None:
    assert after(error, move(state)) is Reaction.RETRY


def test_a_fence_that_is_not_as_expected_decides_nothing_during_the_cut_over() -> None:
    """Whether the tenant has left is not known then; only a look at the fence tells."""
    assert after(ASTRAY, move(MoveState.CUTTING_OVER)) is Reaction.RETRY


# -- rests


def test_a_move_that_came_further_goes_on_at_once() -> None:
    assert rest_s(MoveState.COPYING, move(MoveState.CATCHING_UP), 0) == 0


@pytest.mark.parametrize("state", [MoveState.READY, MoveState.SOAKING])
def test_a_move_that_waits_is_looked_at_every_few_seconds(state: MoveState) -> None:
    assert 1 <= rest_s(state, move(state), 0) <= 5


def test_failures_are_left_alone_for_longer_and_longer_up_to_half_a_minute() -> None:
    rests = [rest_s(MoveState.COPYING, move(MoveState.COPYING), failures) for failures in range(1, 20)]

    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (0.2, 30)


def test_attempts_that_were_put_off_are_further_and_further_apart_up_to_ten_seconds() -> None:
    """The target falls behind meanwhile, so not too far."""
    rests = [
        rest_s(MoveState.CUTTING_OVER, replace(MOVE, progress={"put_off": times}), 0)
        for times in range(1, 20)
    ]

    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (0.2, 10)


def test_metrics_know_every_state() -> None:
    assert set(STATES) == set(MoveState)
