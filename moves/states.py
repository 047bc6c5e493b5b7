"""What comes next in a move: decided from what is known, without doing it.

    planned -> preparing -> copying -> catching_up -> verifying -> ready -> cutting_over -> soaking
    soaking -> cleaning -> done
    soaking -> returning -> aborting -> rolled_back
    planned … cutting_over -> aborting -> aborted

The two arrows that are the cut-over, and the way back, are not taken here: the fence takes them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from fleet.errors import ProvisioningFailed
from moves.errors import CutoverMissed, MoveRefused, MoveSuperseded, RowsDiffer, StructureChanged
from registry.errors import MoveLost, RegistryFailed
from registry.moves import Move, MoveState, Wanted
from tiergate.errors import TiergateError

READY_PASS_S = 1.0
"""How far the target may lag behind while a move waits for its cut-over."""
SOAK_PASS_S = 5.0
"""How far the old place may lag behind the new one; a return catches up first."""

FEW_KEYS = 200
"""So many changed rows are brought over within some milliseconds: a tenant may wait for that."""

_LONGEST_PUT_OFF_S = 10.0
_FIRST_RETRY_S = 0.2
_LONGEST_RETRY_S = 30.0
_TRANSACTION_ROLLBACK = "40"  # the class of deadlocks and failed serializations
_REPEATED = frozenset({MoveState.PREPARING, MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFYING})


class Reaction(Enum):
    """What an error makes of a move: another worker has it, it is tried again, put off, or taken back."""

    LOST = auto()
    PREPARE = auto()
    RETRY = auto()
    PUT_OFF = auto()
    ABORT = auto()
    SOAK = auto()


def asked(move: Move, now: datetime | None = None) -> MoveState | None:
    """The state that an operator or the clock wants *move* in, if it is another one than it is in."""
    now = now or datetime.now(UTC)
    match move.state:
        case MoveState.READY if move.wanted is not Wanted.ABORT:
            return MoveState.CUTTING_OVER if _may_cut(move, now) else None
        case MoveState.SOAKING if move.wanted is Wanted.ROLLBACK:
            return MoveState.RETURNING
        case MoveState.SOAKING:
            return MoveState.CLEANING if _is_soaked(move, now) else None
        case state if move.wanted is Wanted.ABORT and (
            state.is_before_cutover or state is MoveState.CUTTING_OVER
        ):
            return MoveState.ABORTING
        case MoveState.PLANNED:
            return MoveState.PREPARING
        case _:
            return None


def end_of(move: Move) -> MoveState:
    """The last state of a move that is being cleared up after."""
    if move.state is MoveState.CLEANING:
        return MoveState.DONE
    return MoveState.ABORTED if move.cut_over_at is None else MoveState.ROLLED_BACK


def after(error: TiergateError, move: Move) -> Reaction:
    """What becomes of *move*, which met *error*; what nobody can cure by waiting is taken back."""
    state = move.state
    reaction = Reaction.RETRY
    match error:
        case MoveLost():
            reaction = Reaction.LOST
        case MoveSuperseded() if state.is_before_cutover:
            reaction = Reaction.PREPARE
        case MoveSuperseded() | CutoverMissed() if state is MoveState.CUTTING_OVER:
            reaction = Reaction.PUT_OFF
        case RowsDiffer() | StructureChanged() | MoveRefused() if state is MoveState.CUTTING_OVER:
            reaction = Reaction.ABORT  # all are met before the cut-over
        case _ if error.retryable or isinstance(error, RegistryFailed) or _is_passing(error):
            reaction = Reaction.RETRY
        case _ if state.is_before_cutover:
            reaction = Reaction.ABORT
        case _ if state is MoveState.RETURNING:
            reaction = Reaction.SOAK
        case _:
            pass
    return reaction


def rest_s(before: MoveState, now: Move, failures: int) -> float:
    """How long a worker leaves the move alone before it goes on.

    Args:
        failures: In a row.
    """
    if now.state is MoveState.READY and before is MoveState.CUTTING_OVER:
        return min(_LONGEST_PUT_OFF_S, _FIRST_RETRY_S * 2.0 ** (put_offs(now) - 1))
    if failures:
        return min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** (failures - 1))
    if now.state is not before or now.state in _REPEATED:
        return 0.0
    match now.state:
        case MoveState.READY:
            return READY_PASS_S
        case MoveState.SOAKING:
            return SOAK_PASS_S
        case _:
            return 0.0


def put_offs(move: Move) -> int:
    """How many attempts at the cut-over have been put off."""
    return count_of(move.progress, "put_off")


def count_of(progress: Mapping[str, object], what: str) -> int:
    """A number in what is told of a move; 0 before it is there."""
    count = progress.get(what, 0)
    return count if isinstance(count, int) else 0


def _may_cut(move: Move, now: datetime) -> bool:
    if move.wanted is Wanted.CUTOVER:
        return True
    return not move.timing.holds and (move.timing.cut_at is None or move.timing.cut_at <= now)


def _is_soaked(move: Move, now: datetime) -> bool:
    if move.wanted in {Wanted.CLEANUP, Wanted.GIVE_UP}:
        return True
    since = move.cut_over_at or move.changed_at
    return since + timedelta(seconds=move.timing.soak_s) <= now


def _is_passing(error: TiergateError) -> bool:
    return isinstance(error, ProvisioningFailed) and (error.sqlstate or "")[:2] == _TRANSACTION_ROLLBACK
