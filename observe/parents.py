"""Where a request comes from, as its headers say; what is malformed is as if it were not there.

Source:
    W3C Trace Context, level 2, sections 3.2 "Traceparent Header" and 3.3 "Tracestate Header".
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_FIRST, _NEVER = b"00", b"ff"  # versions
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_SAMPLED, _KNOWN_FLAGS = 1, 3
_MOST_MEMBERS = 32
_LONGEST_STATE = 512
_MEMBER = re.compile(
    r"([a-z0-9][_0-9a-z\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True)
class Parent:
    """The span that a request comes from, as its headers say.

    Attributes:
        trace_id, span_id: 32 and 16 hexadecimal digits, lower case.
        flags: Those that the standard knows.
        state: What other tracers pass on, as they wrote it; "" when there is none or it is malformed.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str = ""

    @property
    def is_sampled(self) -> bool:
        """Whether the caller records its own part."""
        return bool(self.flags & _SAMPLED)


def traceparent(trace_id: str, span_id: str, flags: int) -> str:
    """The value of a header; hexadecimal digits and hyphens alone, since nothing else gets into the ids."""
    return f"00-{trace_id}-{span_id}-{flags:02x}"


def parent_of(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """The parent that *headers*, with names in lower case, speak of.

    None when they speak of none, of several, or not as the standard has it: a trace begins here then.
    A malformed `tracestate` is dropped, and its parent kept.
    """
    given: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == b"traceparent":
            given.append(value)
        elif name == b"tracestate":
            states.append(value)
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _NEVER or (version == _FIRST and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    state = _state(states) if states else ""
    return Parent(trace_id.decode(), span_id.decode(), int(flags, 16) & _KNOWN_FLAGS, state)


def _state(values: list[bytes]) -> str:
    written = b",".join(values).decode("latin-1").split(",")
    members = [member for each in written if (member := each.strip(" \t"))]
    keys = {found[1] for each in members if (found := _MEMBER.fullmatch(each))}
    state = ",".join(members)
    is_good = len(keys) == len(members) <= _MOST_MEMBERS and len(state) <= _LONGEST_STATE
    return state if is_good else ""
