"""What metrics say of requests: how they ended, where their time went, and what they were made of."""

from collections.abc import Iterable

from observe.book import Book
from tiergate.events import ProtectionLost, RequestAnswered, StaleRouteRefused
from tiergate.happenings.refusals import IsolationViolated, StatementBarred
from tiergate.tenant import Tier

PHASES = ("auth", "queue", "connect", "database", "encode", "total")
RULES = (
    "refused", "unreadable", "too-complex", "construct", "function", "type", "operator", "schema", "setting",
    "table", "collation", "database", "attribute", "parameter", "system-column", "explain-option",
)  # fmt: skip
"""Those of `guard.errors`."""
VIOLATIONS = ("unprotected", "context", "forged", "tampered")
UNKNOWN = "unknown"
"""Tier of a request whose tenant is not known."""

_TIERS = (*Tier, UNKNOWN)


class _Amount:
    """What is added to for each request of one tier, in plain numbers."""

    __slots__ = ("bytes_in", "bytes_out", "round_trips", "rows")

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = self.rows = self.round_trips = 0


class RequestMetrics:
    """Folds what happens to requests."""

    def __init__(self, book: Book, outcomes: Iterable[str]) -> None:
        """*outcomes* are shown as 0 before they first happen."""
        self._requests = book.counter(
            "tiergate_requests_total",
            "Requests answered.",
            ["tier", "outcome"],
            [(tier, outcome) for tier in _TIERS for outcome in outcomes],
        )
        seconds = book.seconds(
            "tiergate_request_seconds",
            "Where the time of a request went; a phase that did not occur is not counted.",
            ["tier", "phase"],
            [(tier, phase) for tier in _TIERS for phase in PHASES],
        )
        self._seconds = {tier: tuple(seconds[tier, phase] for phase in PHASES) for tier in _TIERS}
        self._amounts = {tier: _Amount() for tier in _TIERS}
        self._bytes = book.counter(
            "tiergate_request_bytes_total",
            "Bytes of the bodies of requests, and of those of their answers.",
            ["tier", "direction"],
            [(tier, direction) for tier in _TIERS for direction in ("in", "out")],
        )
        self._rows = book.counter_by_tier("tiergate_rows_total", "Rows in the answers to requests.")
        self._round_trips = book.counter_by_tier(
            "tiergate_round_trips_total",
            "Times that requests have asked a database and waited for its answer.",
        )
        self._stale_routes = book.counter_by_tier(
            "tiergate_stale_routes_total",
            "Requests that a database's fence refused: the tenant is served elsewhere, or not at all.",
        )
        self._barred = book.counter(
            "tiergate_guard_refusals_total",
            "Statements that the guard did not let through, by the rule that they fail.",
            ["tier", "rule"],
            [(tier, rule) for tier in Tier for rule in RULES],
        )
        self._violations = book.counter(
            "tiergate_isolation_violations_total",
            "Times that one of the walls between tenants was not where it should be.",
            ["tier", "kind"],
            [(tier, kind) for tier in Tier for kind in VIOLATIONS],
        )

    def fold(self, event: RequestAnswered) -> None:
        """One request has its answer."""
        tier = event.tier or UNKNOWN
        self._requests.add((tier, event.outcome))
        auth, queue, connect, database, encode, total = self._seconds[tier]
        if event.auth_s:
            auth.add(event.auth_s)
        if event.queue_s or event.database_s:
            # Whoever reached the database stood in line, be it for no time at all.
            queue.add(event.queue_s)
        if event.connect_s:
            connect.add(event.connect_s)
        if event.database_s:
            database.add(event.database_s)
        if event.encode_s:
            encode.add(event.encode_s)
        total.add(event.total_s)
        amount = self._amounts[tier]
        amount.bytes_in += event.bytes_in
        amount.bytes_out += event.bytes_out
        amount.rows += event.rows
        amount.round_trips += event.round_trips

    def fold_doubt(
        self, event: StaleRouteRefused | StatementBarred | IsolationViolated | ProtectionLost
    ) -> None:
        """Something stood between a request and its answer."""
        match event:
            case StaleRouteRefused(tier=tier):
                self._stale_routes.add((tier,))
            case StatementBarred(tier=tier, rule=rule):
                self._barred.add((tier, rule))
            case IsolationViolated(tier=tier, kind=kind):
                self._violations.add((tier, kind))
            case ProtectionLost(tier=tier):
                self._violations.add((tier, "unprotected"))

    def refresh(self) -> None:
        """Hand on what was added up."""
        for tier, amount in self._amounts.items():
            self._bytes.add((tier, "in"), amount.bytes_in)
            self._bytes.add((tier, "out"), amount.bytes_out)
            if tier != UNKNOWN:
                self._rows.add((tier,), amount.rows)
                self._round_trips.add((tier,), amount.round_trips)
        self._amounts = {tier: _Amount() for tier in _TIERS}
