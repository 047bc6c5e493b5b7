"""Moves of tenants from one place to another, as values: what the registry knows of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from registry.placement import PlaceId
from tiergate.tenant import TenantId, Tier

MoveId = NewType("MoveId", str)
"""A UUID, as text."""


class MoveState(StrEnum):
    """How far a move is; each is safe to begin again.

    Until `cutting_over` has committed at the source the tenant lives at the source, whatever happens; from
    then on at the target. `returning` is the way back, and `aborting` removes what a move made at the target.
    """

    PLANNED = "planned"
    PREPARING = "preparing"
    COPYING = "copying"
    CATCHING_UP = "catching_up"
    VERIFYING = "verifying"
    READY = "ready"
    CUTTING_OVER = "cutting_over"
    SOAKING = "soaking"
    CLEANING = "cleaning"
    DONE = "done"
    RETURNING = "returning"
    ABORTING = "aborting"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self in {MoveState.DONE, MoveState.ABORTED, MoveState.ROLLED_BACK}

    @property
    def is_before_cutover(self) -> bool:
        """Whether the tenant has not left its old place, and aborting costs it nothing."""
        return self in _BEFORE


_BEFORE = frozenset(
    {
        MoveState.PLANNED, MoveState.PREPARING, MoveState.COPYING, MoveState.CATCHING_UP,
        MoveState.VERIFYING, MoveState.READY,
    }
)  # fmt: skip


class Wanted(StrEnum):
    """What an operator has asked of a move that goes on."""

    CUTOVER = "cutover"
    ABORT = "abort"
    ROLLBACK = "rollback"
    CLEANUP = "cleanup"
    GIVE_UP = "give-up"


@dataclass(frozen=True, slots=True)
class Spot:
    """One end of a move; still told when its place is gone."""

    place: PlaceId
    tier: Tier
    cluster: str


@dataclass(frozen=True, slots=True)
class Timing:
    """When a move may go on by itself.

    Attributes:
        holds: It waits at `ready` for an operator.
        cut_at: It waits at `ready` until then; None for at once.
        soak_s: How long the old place is kept equal to the new one after the cut-over.
    """

    holds: bool = False
    cut_at: datetime | None = None
    soak_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Move:
    """One move as it was read.

    Attributes:
        epoch: The tenant's at the source, when the move began.
        target_epoch: What the running or last attempt at the cut-over publishes; never used before.
        attempt: Of the worker that has it: stamped on the fence and on the target, so that a worker that was
            believed dead can change neither. None while nobody has it.
        leased_s: For how long its worker still has it, by the registry's clock; at most 0 when anybody may.
        wanted: What an operator asked for, until it has been done.
        progress: For people: rows, bytes, lag, …; JSON.
        error: Why it was aborted, or what it tries again; None while all is well.
        cut_over_at: When the tenant began to live at the target.
        evidence: The signed record; None until the cut-over.
    """

    id: MoveId
    tenant: TenantId
    state: MoveState
    source: Spot
    target: Spot
    epoch: int
    timing: Timing
    actor: str
    created_at: datetime
    changed_at: datetime
    target_epoch: int | None = None
    attempt: str | None = None
    worker: str | None = None
    leased_s: float = 0.0
    is_paused: bool = False
    wanted: Wanted | None = None
    progress: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None
    cut_over_at: datetime | None = None
    ended_at: datetime | None = None
    evidence: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class MoveStep:
    """One line of a move's journal: when it came to a state, and what was so then."""

    at: datetime
    state: MoveState
    detail: Mapping[str, object]
