"""What metrics say of the books of what tenants use."""

from observe.book import Book
from tiergate.happenings.usage import UsageEvent, UsageLost, UsageWritten


class UsageMetrics:
    """How far the books are behind, and what is in none."""

    def __init__(self, book: Book) -> None:
        self._lag = book.gauge(
            "tiergate_usage_lag_seconds",
            "Age of the oldest usage that is not written into the registry; 0 when all is.",
            over="max",
        )
        self._lost = book.counter(
            "tiergate_usage_lost_total",
            "Requests whose usage is written nowhere and will not be.",
            known=[()],
        )
        self._lag.set(0)

    def __call__(self, event: UsageEvent) -> None:
        """Fold one event."""
        match event:
            case UsageWritten(lag_s=lag_s):
                self._lag.set(lag_s)
            case UsageLost(requests):
                self._lost.add((), requests)
