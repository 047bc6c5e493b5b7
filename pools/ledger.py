"""What processes tell each other, and what they are told, as far as pools have to do with it."""

from collections.abc import Collection, Mapping
from typing import Protocol

from observe.busiest import Load
from registry.orders import Answer, Holdings, Known, Order, Process


class Ledger(Protocol):
    """What is needed of the registry."""

    async def beat(
        self, process: Process, holdings: Holdings, answers: Mapping[int, Answer], load: Load | None
    ) -> None:
        """Write down that *process* is there."""

    async def leave(self, process: str) -> None:
        """It serves nobody any more."""

    async def processes(self) -> list[Known]:
        """Every process."""

    async def forget_processes(self, dead: Collection[str]) -> int:
        """Forget these, and those that were silent for too long."""

    async def orders(self) -> list[Order]:
        """Every order that has not ended."""
