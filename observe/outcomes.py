"""How requests may end, for metrics that show each way from the start."""

from tiergate.errors import TiergateError

_OF_REQUESTS = frozenset({"pools", "router"})  # packages whose errors end requests


def known_outcomes() -> tuple[str, ...]:
    """How a request may end, as far as the errors of the doors and the pools are imported by now."""
    found = {"ok", "internal", "client-gone", "registry-unavailable"}
    left = list(TiergateError.__subclasses__())
    while left:
        kind = left.pop()
        left.extend(kind.__subclasses__())
        if kind.__module__.partition(".")[0] in _OF_REQUESTS and "code" in vars(kind):
            found.add(kind.code)
    return tuple(sorted(found))
