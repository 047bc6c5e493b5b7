"""What the registry said lately, kept so that most requests need not ask.

Invariants, all of which hold between any two awaits:

1. An answer is *fresh* for its TTL, and only a fresh one is given without asking.
2. A key has at most one load under way; all who miss it wait for that one.
3. Whoever is told after `invalidate(key)` is told what was read after it: a load that an
   invalidation overtook is thrown away, and those who waited for it wait for the next.
4. While the registry fails, or takes longer than a quarter of a second, an answer that is no longer
   fresh, but was never refuted by an invalidation, is given until it is `stale_for_s` old.
5. An answer is only replaced by one that `accept` lets replace it.
6. At most `size` answers and `size` absences are kept; the longest unused go first.

It must never hold a lock across an await: all decisions are made in plain functions.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

from registry.errors import RegistryUnavailable
from registry.limits import Limits
from tiergate.deadline import Deadline
from tiergate.events import CacheAnswered, Emit

__all__ = ["Cache", "Limits", "jitter"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_REFUTED = float("-inf")
_PROBE_EVERY_S = 1.0
"""While the registry is down, those who can be given a last known answer ask it this often, not each time."""
_PATIENCE_S = 0.25
"""A load that takes longer keeps nobody waiting who can be given a last known answer."""


def jitter() -> float:
    """A factor within ±10 %, so that what was read together does not expire together."""
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing


class _Answer(Generic[V]):
    __slots__ = ("fresh_until", "known_until", "value")

    def __init__(self, value: V, fresh_until: float, known_until: float) -> None:
        self.value = value
        self.fresh_until = fresh_until
        self.known_until = known_until


class _Flight(Generic[V]):
    """One load under way."""

    __slots__ = ("began", "error", "is_overtaken", "task", "value")

    def __init__(self, began: float) -> None:
        self.began = began
        self.task: asyncio.Task[None]
        self.is_overtaken = False
        self.value: V | None = None
        self.error: Exception | None = RegistryUnavailable("this gateway is stopping")


class Cache(Generic[K, V]):
    """Answers from memory, and loads what it lacks; an async context manager.

    Hits are counted in a plain number, not told as events: a hit costs a few
    hundred nanoseconds, and an event would double that.

    Args:
        name: For `CacheAnswered` and error messages.
        load: Asks the registry; None means that there is no such thing.
        accept: Whether the second value may replace the first; always, when None.
        now: A monotonic clock, seconds.

    Attributes:
        limits: May be replaced while running; what is kept keeps its times, and shrinks with the next load.
        hits, misses, negatives, stales: Answers given since the start, by kind.
        loads: Times the registry was asked.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[K], Awaitable[V | None]],
        limits: Limits,
        *,
        emit: Emit,
        accept: Callable[[V, V], bool] | None = None,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = jitter,
    ) -> None:
        self.name = name
        self.hits = self.misses = self.negatives = self.stales = self.loads = 0
        self._load = load
        self.limits = limits
        self._emit = emit
        self._accept = accept
        self._now = now
        self._jitter = jitter
        self._answers: OrderedDict[K, _Answer[V]] = OrderedDict()
        self._absences: OrderedDict[K, float] = OrderedDict()
        self._flights: dict[K, _Flight[V]] = {}
        self._is_down = False
        self._probe_at = 0.0
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for flight in self._flights.values():
            flight.task.cancel()
        await self._tasks.__aexit__(None, None, None)  # the body's own error is not ours to wrap in a group

    def __len__(self) -> int:
        return len(self._answers)

    def peek(self, key: K) -> V | None:
        """The answer, when it is fresh; never waits, never asks."""
        answer = self._answers.get(key)
        if answer is None or answer.fresh_until <= self._now():
            return None
        self._answers.move_to_end(key)
        self.hits += 1
        return answer.value

    async def get(self, key: K, deadline: Deadline) -> V | None:
        """The answer, from memory or from the registry; None when there is no such thing.

        Raises:
            RegistryUnavailable: The registry fails or is slow, and no last known answer may be given.
        """
        has_missed = False
        while True:
            if (value := self.peek(key)) is not None:
                return value
            if self._is_absent(key):
                self._count_absence()
                return None
            if self._is_down and (known := self._known(key)) is not None:
                self._probe(key)
                return self._count_stale(known)
            if not has_missed:
                has_missed = True
                self._count_miss()
            flight = self._flights.get(key) or self._depart(key)
            left_s = deadline.left_s()
            if self._known(key) is not None:
                left_s = min(left_s, max(0.0, flight.began + _PATIENCE_S - self._now()))
            await asyncio.wait({flight.task}, timeout=left_s)
            if flight.task.done() and flight.is_overtaken:
                continue
            if not flight.task.done() and self._known(key) is None and deadline.left_s():
                continue  # it was refuted meanwhile
            return self._outcome(key, flight)

    def invalidate(self, key: K) -> None:
        """What is known of *key* is no longer so; nobody is told it again."""
        self._absences.pop(key, None)
        if (answer := self._answers.get(key)) is not None:
            # Kept, for `accept` to compare the next answer with.
            answer.fresh_until = answer.known_until = _REFUTED
        if (flight := self._flights.get(key)) is not None:
            flight.is_overtaken = True

    def doubt(self) -> None:
        """Any of it may have changed: ask again; it is given unasked only while the registry fails."""
        self._absences.clear()
        for answer in self._answers.values():
            answer.fresh_until = _REFUTED
        for flight in self._flights.values():
            flight.is_overtaken = True
        self._is_down = False

    def clear(self) -> None:
        """Forget everything, last known answers too."""
        self.doubt()
        self._answers.clear()

    def _trim(self) -> None:
        while len(self._answers) > self.limits.size:
            self._answers.popitem(last=False)
        while len(self._absences) > self.limits.size:
            self._absences.popitem(last=False)

    def _known(self, key: K) -> V | None:
        answer = self._answers.get(key)
        return answer.value if answer is not None and self._now() < answer.known_until else None

    def _is_absent(self, key: K) -> bool:
        return self._now() < self._absences.get(key, _REFUTED)

    def _depart(self, key: K) -> _Flight[V]:
        flight: _Flight[V] = _Flight(self._now())
        self._flights[key] = flight
        self.loads += 1
        flight.task = self._tasks.create_task(self._fly(key, flight), name=f"load {self.name}")
        return flight

    async def _fly(self, key: K, flight: _Flight[V]) -> None:
        try:
            async with asyncio.timeout(self.limits.load_timeout_s):
                value = await self._load(key)
            flight.value = value if flight.is_overtaken else self._keep(key, value)
            flight.error = None
        except TimeoutError:
            flight.error = RegistryUnavailable(f"loading a {self.name} took too long")
        except Exception as error:  # noqa: BLE001 - handed to all who wait, each of whom raises it
            flight.error = error
        finally:
            del self._flights[key]
        if isinstance(flight.error, RegistryUnavailable):
            self._is_down = True
            self._probe_at = self._now() + _PROBE_EVERY_S * self._jitter()
        elif flight.error is None:
            self._is_down = False

    def _keep(self, key: K, value: V | None) -> V | None:
        now = self._now()
        if value is None:
            self._answers.pop(key, None)
            self._absences[key] = now + self.limits.negative_ttl_s * self._jitter()
            self._absences.move_to_end(key)
            self._trim()
            return None
        self._absences.pop(key, None)
        known = self._answers.get(key)
        if known is not None and self._accept is not None and not self._accept(known.value, value):
            return self._hold_on_to(known)
        ttl_s = self.limits.ttl_s * self._jitter()
        self._answers[key] = _Answer(value, now + ttl_s, now + max(ttl_s, self.limits.stale_for_s))
        self._answers.move_to_end(key)
        self._trim()
        return value

    def _hold_on_to(self, known: _Answer[V]) -> V:
        # A standby took over, and is behind. What we know is later, so it stands, yet not as
        # fresh; unless it was refuted: then nobody knows.
        if known.known_until == _REFUTED:
            raise RegistryUnavailable(f"it gave an older {self.name} than it gave before")
        return known.value

    def _outcome(self, key: K, flight: _Flight[V]) -> V | None:
        error = flight.error if flight.task.done() else RegistryUnavailable("no answer before the deadline")
        if error is None:
            return flight.value
        if not isinstance(error, RegistryUnavailable):
            raise error
        if (known := self._known(key)) is not None:
            return self._count_stale(known)
        raise RegistryUnavailable(error.why) from error  # one each: a shared one gathers all tracebacks

    def _probe(self, key: K) -> None:
        now = self._now()
        if now >= self._probe_at and key not in self._flights:
            self._probe_at = now + _PROBE_EVERY_S * self._jitter()
            self._depart(key)

    def _count_miss(self) -> None:
        self.misses += 1
        self._emit(CacheAnswered(self.name, "miss"))

    def _count_absence(self) -> None:
        self.negatives += 1
        self._emit(CacheAnswered(self.name, "negative"))

    def _count_stale(self, value: V) -> V:
        self.stales += 1
        self._emit(CacheAnswered(self.name, "stale"))
        return value
