"""Writes what tenants use into the registry, and asks it for that; see `observe.meter`.

Invariants. A batch has a number, one more than the last of this process, and the same content however often
it is written. The next is made when it is known that it was written. The registry adds a batch only when
its number is new: so whatever becomes of an answer, nothing is added twice, and nothing is left out.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from observe.meter import Meter, Used
from registry.cache import jitter
from registry.errors import RegistryFailed, RegistryUnavailable
from tiergate.deadline import finish
from tiergate.events import Emit, LoopFailed
from tiergate.happenings.usage import UsageLost, UsageWritten
from tiergate.tenant import TenantId, Tier

BATCH_ROWS = 250
"""Of one statement: it costs this process 3 ms, and a busy registry ends it well before its time is over."""

_FORGET_EVERY_S = 3600.0
_LAST_S = 3.0


class Period(StrEnum):
    """What usage is added up by; days and months are those of UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose row it is: rows are ordered by this."""

    tenant: TenantId
    period: datetime
    tier: Tier


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage is asked for.

    Attributes:
        tenant, tier: None for all.
        since, until: The hours that begin from the one on and before the other; None for no bound.
        after: Only what comes after this row.
    """

    by: Period
    tenant: TenantId | None = None
    tier: Tier | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Mark | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tenant has used in one period on one tier.

    Attributes:
        storage_bytes: On average of the measurements in that time; None when there was none.
    """

    mark: Mark
    requests: int
    failed: int
    rows: int
    in_bytes: int
    out_bytes: int
    database_us: int
    connection_us: int
    storage_bytes: int | None


class Books(Protocol):
    """What is needed of the registry."""

    async def write_usage(self, process: str, sequence: int, used: Sequence[Used]) -> bool:
        """Add these rows, unless that was done before; False when that cannot be known any more."""

    async def forget_usage(self, *, keep_days: int) -> int:
        """Remove what is older; how many rows."""


@dataclass(frozen=True, slots=True)
class _Batch:
    sequence: int
    used: list[Used]

    @property
    def requests(self) -> int:
        return sum(each.requests for each in self.used)


class Bookkeeper:
    """Writes what *meter* holds every few seconds; while the registry fails, it is kept, and written later.

    Attributes:
        keep_days: Older rows are removed, once an hour.

    Args:
        process: No other has that name, and no later one.
    """

    def __init__(
        self, books: Books, process: str, meter: Meter, *,
        every_s: float, keep_days: int, emit: Emit, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.every_s = every_s
        self.keep_days = keep_days
        self._books = books
        self._process = process
        self._meter = meter
        self._emit = emit
        self._now = now
        self._sequence = 0
        self._batch: _Batch | None = None
        self._whole_s = now()
        self._told_lost = 0
        self._forget_at_s = now() + _FORGET_EVERY_S * jitter()

    @property
    def unwritten(self) -> int:
        """How many rows wait to be written."""
        return len(self._meter) + (len(self._batch.used) if self._batch is not None else 0)

    async def run_once(self) -> int:
        """Write what is there; how many rows.

        Raises:
            RegistryUnavailable, RegistryFailed: What was not written is kept.
        """
        count = 0
        try:
            count += await self._write_sealed()  # before more is sealed: what was is not to pile up
            began_s = self._now()
            self._meter.seal()
            count += await self._write_sealed()
            self._whole_s = began_s
        finally:
            self._tell(count)
        return count

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.run_once()
                await self._forget()
            except (RegistryUnavailable, RegistryFailed):
                pass  # the lag grows, which is told
            except Exception as error:  # noqa: BLE001 - who no longer writes must go on trying
                self._emit(LoopFailed(loop="usage", error=f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Write what is left; 3 s at most, and what is not written by then is lost."""
        with suppress(RegistryUnavailable, RegistryFailed, TimeoutError):
            await finish(self.run_once(), within_s=_LAST_S)
        self._meter.seal()
        while (batch := self._next()) is not None:
            self._batch = None
            self._lose(batch.requests)

    def _next(self) -> _Batch | None:
        """The batch that is to be written: one that was begun, else a new one."""
        if self._batch is None and (used := self._meter.take(BATCH_ROWS)):
            self._sequence += 1
            self._batch = _Batch(self._sequence, used)
        return self._batch

    async def _write_sealed(self) -> int:
        count = 0
        while (batch := self._next()) is not None:
            if not await self._books.write_usage(self._process, batch.sequence, batch.used):
                self._lose(batch.requests)
            self._batch = None
            count += len(batch.used)
        return count

    def _lose(self, requests: int) -> None:
        self._meter.lost += requests
        self._tell(0)

    def _tell(self, count: int) -> None:
        self._emit(UsageWritten(count, self._now() - self._whole_s if self.unwritten else 0.0))
        if (lost := self._meter.lost - self._told_lost) > 0:
            self._told_lost = self._meter.lost
            self._emit(UsageLost(lost))

    async def _forget(self) -> None:
        if self._now() >= self._forget_at_s:
            self._forget_at_s = self._now() + _FORGET_EVERY_S
            await self._books.forget_usage(keep_days=self.keep_days)
