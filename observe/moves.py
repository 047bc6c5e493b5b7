"""What metrics say of moves."""

from observe.book import Book
from tiergate.happenings.moves import MoveCopied, MoveCutOver, MoveEvent, MoveFailed, MoveStepped
from tiergate.tenant import Tier

STATES = (
    "planned", "preparing", "copying", "catching_up", "verifying", "ready", "cutting_over", "soaking",
    "cleaning", "done", "returning", "aborting", "aborted", "rolled_back",
)  # fmt: skip
"""Those of `registry.moves.MoveState`."""
OPEN_STATES = tuple(state for state in STATES if state not in {"done", "aborted", "rolled_back"})

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class MoveMetrics:
    """How far moves come, and what they cost the tenant."""

    def __init__(self, book: Book) -> None:
        self._pauses = book.seconds(
            "tiergate_move_pause_seconds",
            "For how long a tenant's requests were held while it changed its place.",
            ["tier"],
            [(tier,) for tier in Tier],
            bounds_s=_BUCKETS_S,
        )
        states = [(state,) for state in STATES]
        self._steps = book.counter(
            "tiergate_move_steps_total", "States that moves have come to.", ["state"], states
        )
        self._failures = book.counter(
            "tiergate_move_failures_total",
            "Pieces of moves that did not succeed, by the state that the move was in.",
            ["state"],
            states,
        )
        self._rows = book.counter(
            "tiergate_move_rows_total", "Rows that were brought to tenants' new places.", known=[()]
        )

    def __call__(self, event: MoveEvent) -> None:
        """Fold one event."""
        match event:
            case MoveStepped(state=state):
                self._steps.add((state,))
            case MoveFailed(state=state):
                self._failures.add((state,))
            case MoveCutOver(tier=tier, pause_s=pause_s):
                self._pauses[tier,].add(pause_s)
            case MoveCopied(rows=rows):
                self._rows.add((), rows)
