"""Everything that a move leaves behind on its way, by name, in the order of the way.

Between any two of these the program may be killed, stopped or cut off, and whoever takes the move over
goes on. So each is told to a seam, as soon as it is durable: `Reached`.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum

from registry.moves import MoveId


class Step(StrEnum):
    """What has just become durable, or, of what is held by a session alone, has just been taken."""

    DATA_PLANE_LAID = "data_plane_laid"
    PLACE_MADE = "place_made"
    SERVING_STAMPED = "serving_stamped"
    GUARD_PUT = "guard_put"
    LEFTOVER_CLOSED = "leftover_closed"
    SOURCE_CAPTURED = "source_captured"
    TARGET_CAPTURED = "target_captured"
    SEQUENCES_ADVANCED = "sequences_advanced"
    CHUNK_COPIED = "chunk_copied"
    CHANGES_AT_TARGET = "changes_at_target"
    CHANGES_DONE = "changes_done"
    CHUNK_COMPARED = "chunk_compared"
    HOLD_BEGUN = "hold_begun"
    TENANT_LOCKED = "tenant_locked"
    DELTA_APPLIED = "delta_applied"
    TARGET_OPENED = "target_opened"
    SOURCE_LEFT = "source_left"
    PUBLISHED = "published"
    HOLD_ENDED = "hold_ended"
    CAPTURE_REMOVED = "capture_removed"
    EVIDENCE_RECORDED = "evidence_recorded"
    ROWS_REMOVED = "rows_removed"
    PLACE_REMOVED = "place_removed"
    GUARD_REMOVED = "guard_removed"
    SERVING_UNSTAMPED = "serving_unstamped"
    PLACE_FORGOTTEN = "place_forgotten"
    STATE_ADVANCED = "state_advanced"


Reached = Callable[[MoveId, Step], Awaitable[None]]
"""Is told of each step. What it raises, or how long it takes, is as if the step's work had."""


async def nowhere(_move: MoveId, _step: Step) -> None:
    """Tells nobody."""
