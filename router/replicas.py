"""Where a request that accepts staleness is read: at a replica that is fresh enough, else at the cluster.

A replica never makes a request fail that the cluster would have answered: what it cannot do, or fails
in, the cluster is asked for. That may always be done, since such a request is read-only.
"""

import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pools.errors import (
    DeadlineExceeded,
    Drained,
    Killed,
    Paused,
    ResponseTooLarge,
    StatementCostly,
    StatementFailed,
    StatementRefused,
    StatementTooLong,
)
from pools.lease import Isolation, Transaction
from registry.placement import Place, Placement, Replica
from router.asgi import Headers
from router.errors import BadHeader
from router.lines import Lines
from tiergate.errors import TiergateError
from tiergate.events import Emit, StaleRead

T = TypeVar("T")

MAX_STALENESS = b"tiergate-max-staleness"
_SECONDS = re.compile(rb"[0-9]{1,6}(?:\.[0-9]{1,6})?")
# What the cluster itself would do no better, or has no time left for.
_FINAL = (
    DeadlineExceeded, Drained, Killed, Paused, ResponseTooLarge,
    StatementCostly, StatementRefused, StatementTooLong,
)  # fmt: skip
_CANCELED = "57014"


def max_staleness_s(headers: Headers) -> float | None:
    """How old what is read may be, in seconds; None when the request accepts no staleness.

    Raises:
        BadHeader: It is no number of seconds.
    """
    text = headers.get(MAX_STALENESS)
    if text is None:
        return None
    if not _SECONDS.fullmatch(text):
        raise BadHeader("Tiergate-Max-Staleness", "is no number of seconds, such as 5 or 0.5")
    return float(text)


class Lags(Protocol):
    """What is asked of `fleet.lag.Lags`."""

    def staleness_s(self, place: Place, replica: Replica) -> float | None:
        """How old what the replica shows is, if that is known."""


class _TooStaleError(Exception):
    """It was fresh enough when it was chosen, and is not now."""


@dataclass(slots=True)
class Reading:
    """A read at a replica.

    Attributes:
        placement: The tenant's, as it is read there.
        staleness_s: How old what it shows was when the statements were sent.
    """

    placement: Placement
    ask: Callable[[], float | None]
    most_s: float
    staleness_s: float = 0.0

    def check(self) -> None:
        """Look once more, now that there is a connection: the wait for it counts, too.

        Raises:
            _TooStaleError: It is too old by now.
        """
        staleness_s = self.ask()
        if staleness_s is None or staleness_s > self.most_s:
            raise _TooStaleError
        self.staleness_s = staleness_s


@dataclass(frozen=True, slots=True)
class Read:
    """How a request that accepts staleness has fared.

    Attributes:
        reading: Where it is read at the moment; None at the cluster itself.
    """

    reading: Reading | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What its answer says of it."""
        by, staleness_s = b"primary", 0.0
        if self.reading is not None:
            by = b"replica; name=%b" % (self.reading.placement.place.replica or "").encode()
            staleness_s = self.reading.staleness_s
        return [(b"tiergate-served-by", by), (b"tiergate-staleness", b"%.3f" % staleness_s)]


class Asked(Protocol):
    """What is asked of `router.course.Course`.

    Attributes:
        read: How it fares.
        lines: The answer, where it is streamed.
    """

    read: Read | None
    lines: Lines | None


class Replicas:
    """Chooses replicas."""

    def __init__(self, lags: Lags, emit: Emit) -> None:
        self._lags = lags
        self._emit = emit

    async def read(
        self,
        placement: Placement,
        transaction: Transaction,
        course: Asked,
        run: Callable[[Placement], Awaitable[T]],
    ) -> T | None:
        """What *run* gives at a replica; None when the cluster itself must be asked.

        Args:
            course: Is told where it is read, before *run* is called.

        Raises:
            TiergateError: The cluster would say the same.
        """
        found = self._choose(placement, transaction)
        if isinstance(found, str):
            self._emit(StaleRead(placement.tier, found))
            return None
        served_by, course.read = "replica", Read(found)
        try:
            return await run(found.placement)
        except _TooStaleError:
            served_by, course.read = "too-stale", Read()
        except TiergateError as exc:
            has_begun = course.lines is not None and course.lines.has_begun
            if has_begun or isinstance(exc, _FINAL) or _is_canceled(exc):
                raise
            served_by, course.read = "failed", Read()
        finally:
            self._emit(StaleRead(placement.tier, served_by))
        return None

    def _choose(self, placement: Placement, transaction: Transaction) -> Reading | str:
        """Any replica that is fresh enough, or why there is none."""
        place, most_s = placement.place, transaction.max_staleness_s
        if most_s is None or not place.replicas:
            return "no-replica"
        if transaction.isolation is Isolation.SERIALIZABLE:
            return "serializable"  # which no standby can do
        ages = [(replica, self._lags.staleness_s(place, replica)) for replica in place.replicas]
        fresh = [replica for replica, age_s in ages if age_s is not None and age_s <= most_s]
        if not fresh:
            return "unknown-lag" if all(age_s is None for _, age_s in ages) else "too-stale"
        replica = random.choice(fresh)  # noqa: S311 - spreads load
        return Reading(
            replace(placement, place=place.at(replica)),
            lambda: self._lags.staleness_s(place, replica),
            most_s,
        )


def _is_canceled(error: TiergateError) -> bool:
    """Whether the statement has had its time."""
    return isinstance(error, StatementFailed) and error.error.code == _CANCELED
