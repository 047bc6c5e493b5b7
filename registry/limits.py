"""How much of the registry is kept in memory, and for how long."""

from dataclasses import dataclass

from config.settings import Registry


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a cache keeps, and for how long.

    Attributes:
        size: Answers kept at most, and as many absences.
        ttl_s, negative_ttl_s: How long an answer, or an absence, is given without asking.
        stale_for_s: How old a last known answer may be while the registry is down.
        load_timeout_s: How long one load may take.
    """

    size: int
    ttl_s: float
    negative_ttl_s: float
    stale_for_s: float
    load_timeout_s: float

    @classmethod
    def of(cls, registry: Registry) -> "Limits":
        """The limits that the operator set; a load may queue for a connection, and then ask."""
        return cls(
            size=registry.cache_size,
            ttl_s=registry.ttl_s,
            negative_ttl_s=registry.negative_ttl_s,
            stale_for_s=registry.stale_for_s,
            load_timeout_s=2 * registry.timeout_s,
        )
