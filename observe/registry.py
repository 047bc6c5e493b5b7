"""What metrics say of the registry, of what it holds, and of its audit."""

from collections.abc import Callable, Mapping

from observe.book import Book
from observe.moves import OPEN_STATES
from observe.tally import NamedGauge
from tiergate.events import AuditCut, AuditGrew, CacheAnswered, RegistryFound, RegistryLost
from tiergate.happenings.registry import RegistryCounted

CACHES = ("placement", "credential")
CACHE_OUTCOMES = ("hit", "miss", "negative", "stale")
CREDENTIALS = ("active", "expiring", "expired")

RegistryEvent = RegistryLost | RegistryFound | RegistryCounted | AuditGrew | AuditCut


class RegistryMetrics:
    """Folds what is heard of the registry."""

    def __init__(self, book: Book, hits: Callable[[], Mapping[str, int]]) -> None:
        """*hits* says by cache how often it has answered from memory so far."""
        self._hits = hits
        self._hits_seen: dict[str, int] = {}
        self._cache = book.counter(
            "tiergate_registry_cache_total",
            "Questions to the cache of the registry.",
            ["cache", "outcome"],
            [(cache, outcome) for cache in CACHES for outcome in CACHE_OUTCOMES],
        )
        self._up = book.gauge(
            "tiergate_registry_up",
            "1 while the registry answers and notifies, 0 while cached answers serve.",
            over="min",
        )
        self._up.set(1)
        self._audit_entries = book.gauge(
            "tiergate_audit_entries", "Entries of the audit, as far as this gateway has seen.", over="max"
        )
        self._audit_cuts = book.counter(
            "tiergate_audit_cuts_total",
            "Times the audit ended before an entry that this gateway had seen there.",
            known=[()],
        )
        self._moves = book.gauge("tiergate_moves", "Open moves.", ["state"], over="mostrecent")
        self._idle = book.gauge(
            "tiergate_move_idle_seconds",
            "How long the open move has gone without progress that has gone longest.",
            over="max",
        )
        self._credentials = book.gauge(
            "tiergate_credentials", "API keys that nobody has revoked.", ["state"], over="mostrecent"
        )
        self._admin_keys = book.gauge(
            "tiergate_admin_keys", "Keys of operators that nobody has revoked.", ["state"], over="mostrecent"
        )
        self._key_age = NamedGauge(
            book.gauge(
                "tiergate_context_key_age_seconds",
                "For how long the oldest of a cluster's context keys has signed.",
                ["cluster"],
                over="mostrecent",
            )
        )
        self._show(RegistryCounted({}, 0.0, {}, {}, {}))

    def fold_answer(self, event: CacheAnswered) -> None:
        """A cache was asked, and had to think."""
        self._cache.add((event.cache, event.outcome))

    def __call__(self, event: RegistryEvent) -> None:
        """Fold one event."""
        match event:
            case RegistryLost():
                self._up.set(0)
            case RegistryFound():
                self._up.set(1)
            case AuditGrew(entries=entries):
                self._audit_entries.set(entries)
            case AuditCut():
                self._audit_cuts.add(())
            case RegistryCounted():
                self._show(event)

    def _show(self, counted: RegistryCounted) -> None:
        for state in OPEN_STATES:
            self._moves.labels(state).set(counted.moves.get(state, 0))
        self._idle.set(counted.move_idle_s)
        for state in CREDENTIALS:
            self._credentials.labels(state).set(counted.credentials.get(state, 0))
            self._admin_keys.labels(state).set(counted.admin_keys.get(state, 0))
        for cluster, age_s in counted.context_key_age_s.items():
            self._key_age.set((cluster,), age_s)

    def refresh(self) -> None:
        """Hand on what the caches have answered from memory."""
        for cache, hits in self._hits().items():
            self._cache.add((cache, "hit"), hits - self._hits_seen.get(cache, 0))
            self._hits_seen[cache] = hits
