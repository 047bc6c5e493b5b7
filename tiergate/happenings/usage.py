"""What happens to the books of what tenants use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UsageWritten:
    """This process has tried to write what its tenants have used.

    Attributes:
        rows: How many were written.
        lag_s: Age of the oldest request that is not written; 0.0 when all are.
    """

    rows: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class UsageLost:
    """Requests are in nobody's books: there was no room to keep more, or no time left to write them."""

    requests: int


UsageEvent = UsageWritten | UsageLost
