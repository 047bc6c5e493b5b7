"""How much the log says: what is configured, or for a while what an operator wants instead."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from observe.logs import Level, Log

CONFIGURED = "configured"
"""In place of a level: what the settings say."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Loud:
    """What one process's log says now.

    Attributes:
        heard: The number of the operator's last word; 0 when there was none.
        left_s: Until it is over; None while the configured level holds.
    """

    level: str
    heard: int
    left_s: float | None


class Loudness:
    """Sets the level of a log.

    Attributes:
        on_change: Called when an operator's word was heard, or is over.
    """

    def __init__(self, log: Log, on_change: Callable[[], None] = lambda: None) -> None:
        self.on_change = on_change
        self._log = log
        self._configured = log.level
        self._loop = asyncio.get_running_loop()
        self._heard = 0
        self._until: asyncio.TimerHandle | None = None

    def configure(self, level: Level) -> None:
        """The settings say *level*; what an operator wants for a while goes before it."""
        self._configured = level
        if self._until is None:
            self._log.level = level

    def hear(self, word: Mapping[str, object]) -> None:
        """An operator wants {"level": …, "for_s": …, "number": …}; what is not understood is left."""
        try:
            level, for_s, number = str(word["level"]), float(str(word["for_s"])), int(str(word["number"]))
        except (KeyError, ValueError):
            return
        if number > self._heard and level in {*LEVELS, CONFIGURED}:
            self._heard = number
            self._set(level, for_s)

    def told(self) -> Loud:
        """What holds now."""
        left_s = None if self._until is None else max(0.0, self._until.when() - self._loop.time())
        return Loud(self._log.level, self._heard, left_s)

    def _set(self, level: str, for_s: float) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
        wanted = self._configured
        if level != CONFIGURED:
            wanted = cast("Level", level)
            self._until = self._loop.call_later(for_s, self._set, CONFIGURED, 0.0)
        before, self._log.level = self._log.level, "info"
        self._log.say("info", "log-level", now=wanted, before=before)  # whichever of the two holds
        self._log.level = wanted
        self.on_change()
