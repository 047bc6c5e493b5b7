"""Which journey comes by which step, found out by travelling each once."""

from collections.abc import Sequence
from dataclasses import dataclass

from moves.steps import Step
from tests.support.gateways import Serving
from tests.support.grounds import Ground
from tests.support.journeys import Fault, Journey, Outcome, fate_of, travel
from tests.support.workers import Halt

OPENED = Halt(Step.TARGET_OPENED)
"""A worker that is killed here leaves an opened target behind, which only whoever comes after it meets."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """How one comes by a step.

    Attributes:
        before: Where an earlier worker is killed first.
        times: How often one comes by.
    """

    journey: Journey
    before: Halt | None
    times: int


@dataclass(frozen=True, slots=True)
class Crossings:
    """Every step that some journey comes by, and what became of those journeys."""

    by_step: dict[Step, list[Crossing]]
    outcomes: tuple[Outcome, ...]

    @property
    def missed(self) -> list[Step]:
        """Steps that nobody comes by."""
        return [step for step in Step if step not in self.by_step]

    async def meet(
        self,
        ground: Ground,
        gateways: Sequence[Serving],
        step: Step,
        fault: Fault,
        *,
        way: int = 0,
        time: int = 1,
    ) -> Outcome:
        """Travel to *step* on one of its ways, and have *fault* happen there."""
        crossing = self.by_step[step][way]
        halt = Halt(step, time, fate_of(fault))
        return await travel(ground, gateways, crossing.journey, halt, fault, before=crossing.before)


async def find_crossings(ground: Ground, gateways: Sequence[Serving]) -> Crossings:
    """Travel each journey once, and one after a worker was killed."""
    ways: list[tuple[Journey, Halt | None]] = [(journey, None) for journey in Journey]
    ways.append((Journey.FORTH, OPENED))
    by_step: dict[Step, list[Crossing]] = {}
    outcomes: list[Outcome] = []
    for journey, before in ways:
        outcome = await travel(ground, gateways, journey, before=before)
        outcomes.append(outcome)
        for step in Step:
            if times := outcome.steps.count(step):
                by_step.setdefault(step, []).append(Crossing(journey, before, times))
    return Crossings(by_step, tuple(outcomes))
