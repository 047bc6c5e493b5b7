"""What the headers of a `/sql` request choose, besides who asks."""

import re

from pools.lease import Isolation, Transaction
from router.asgi import Headers, Scope
from router.body import Request
from router.course import Course
from router.errors import BadHeader, ScopeMissing
from router.identify import Caller
from router.lines import LINES
from router.replicas import Read, max_staleness_s

_ISOLATION = {
    b"ReadUncommitted": Isolation.READ_UNCOMMITTED,
    b"ReadCommitted": Isolation.READ_COMMITTED,
    b"RepeatableRead": Isolation.REPEATABLE_READ,
    b"Serializable": Isolation.SERIALIZABLE,
}
_JS_DRIVER = b"40neondatabase%2fserverless"
_LEVEL = b"neon-batch-isolation-level"
_FLAGS = (b"neon-batch-read-only", b"neon-batch-deferrable")
_UNWANTED = re.compile(rb"q=0(\.0*)?")


def transaction(request: Request, headers: Headers, caller: Caller, course: Course) -> Transaction:
    """What *caller* may run of *request*, in the way that the headers ask for; *course* gets their echo.

    Raises:
        ScopeMissing: The credential is good for nothing.
        BadHeader: There is no such isolation level, or no such time.
    """
    if not caller.scopes:
        raise ScopeMissing("read")
    staleness_s = max_staleness_s(headers)
    course.read = None if staleness_s is None else Read()
    # With staleness always: whether a write is refused must not depend on where it came to.
    read_only = "write" not in caller.scopes or staleness_s is not None
    name = headers.get(_LEVEL)
    if name is not None and name not in _ISOLATION:
        raise BadHeader(
            "Neon-Batch-Isolation-Level", "is none of " + ", ".join(k.decode() for k in _ISOLATION)
        )
    if not request.batch:
        return Transaction(request.statements, read_only=read_only, max_staleness_s=staleness_s)
    course.echoes += [(key, b"true") for key in _FLAGS if headers.get(key) == b"true"]
    if name is not None:
        course.echoes.append((_LEVEL, name))
    return Transaction(
        request.statements,
        _ISOLATION[name] if name is not None else None,
        read_only=read_only or headers.get(b"neon-batch-read-only") == b"true",
        deferrable=headers.get(b"neon-batch-deferrable") == b"true",
        max_staleness_s=staleness_s,
    )


def wants_arrays(headers: Headers) -> bool:
    """Rows as arrays unless the caller would expect objects.

    The JavaScript driver expects arrays even when its user's own headers have
    replaced the one that asks for them; it is known by its connection string.
    """
    asked = headers.get(b"neon-array-mode")
    if asked is not None:
        return asked == b"true"
    return _JS_DRIVER in (headers.get(b"neon-connection-string") or b"").lower()


def wants_lines(scope: Scope, headers: Headers) -> bool:
    """Whether the answer is to be streamed, to a caller who could read that: HTTP/1.0 has no chunks."""
    asked = (headers.get(b"accept") or b"").lower()
    if LINES not in asked or scope["http_version"] == "1.0":
        return False
    kinds = ([part.strip() for part in kind.split(b";")] for kind in asked.split(b","))
    return any(kind == LINES and not any(map(_UNWANTED.fullmatch, rest)) for kind, *rest in kinds)
