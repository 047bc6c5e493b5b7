"""What metrics say of moves."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from observe.tally import CounterTally, HistogramTally
from tiergate.happenings.moves import MoveCutOver, MoveEvent, MoveFailed, MoveStepped
from tiergate.tenant import Tier

STATES = (
    "planned", "preparing", "copying", "catching_up", "verifying", "ready", "cutting_over", "soaking",
    "cleaning", "done", "returning", "aborting", "aborted", "rolled_back",
)  # fmt: skip
"""Those of `registry.moves.MoveState`."""

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class MoveMetrics:
    """How far moves come, and what they cost the tenant.

    Attributes:
        tallies: To be flushed with the others.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        pause = Histogram(
            "tiergate_move_pause_seconds",
            "For how long a tenant's requests were held while it changed its place.",
            ["tier"],
            registry=registry,
            buckets=_BUCKETS_S,
        )
        self._pauses = {tier: HistogramTally(pause.labels(tier), _BUCKETS_S) for tier in Tier}
        states = [(state,) for state in STATES]
        steps = Counter(
            "tiergate_move_steps_total", "States that moves have come to.", ["state"], registry=registry
        )
        failures = Counter(
            "tiergate_move_failures_total",
            "Pieces of moves that did not succeed, by the state that the move was in.",
            ["state"],
            registry=registry,
        )
        self._steps, self._failures = CounterTally(steps, states), CounterTally(failures, states)
        self.tallies: tuple[CounterTally | HistogramTally, ...] = (
            self._steps, self._failures, *self._pauses.values(),
        )  # fmt: skip

    def __call__(self, event: MoveEvent) -> None:
        """Fold one event."""
        match event:
            case MoveStepped(state=state):
                self._steps.add((state,))
            case MoveFailed(state=state):
                self._failures.add((state,))
            case MoveCutOver(tier=tier, pause_s=pause_s):
                self._pauses[tier].add(pause_s)
