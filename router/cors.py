"""What browsers are told about pages from elsewhere.

Source:
    Fetch standard, "CORS protocol". Which headers of an answer a page may read is said
    in the answer itself, not in that to the preflight.
"""

_METHODS = b"POST, OPTIONS"
_ALLOWED = (
    b"Authorization, Content-Type, Neon-Connection-String, Neon-Raw-Text-Output, Neon-Array-Mode, "
    b"Neon-Pool-Opt-In, Neon-Batch-Read-Only, Neon-Batch-Isolation-Level, Neon-Batch-Deferrable, "
    b"Tiergate-Max-Staleness, Traceparent, Tracestate"
)
_EXPOSED = (
    b"Neon-Request-Id, Neon-Batch-Read-Only, Neon-Batch-Isolation-Level, Neon-Batch-Deferrable, Retry-After, "
    b"Server-Timing, Tiergate-Error, Tiergate-Request-Id, Tiergate-Route, Tiergate-Served-By, "
    b"Tiergate-Staleness, Tiergate-Status, Traceresponse"
)
_PREFLIGHT_S = 86400

Headers = list[tuple[bytes, bytes]]


def of_answers(origin: str | None) -> Headers:
    """Headers of every answer; *origin* may call, "*" is any, None is none."""
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", _EXPOSED),
    ]


def of_preflight(origin: str | None) -> Headers:
    """Headers of the answer to OPTIONS."""
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _ALLOWED),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_S),
    ]
