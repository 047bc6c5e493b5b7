"""What statements of one shape have in common, by Postgres's own grammar; for traces, never for a verdict."""

from dataclasses import dataclass
from functools import lru_cache

import postgast
from postgast import pg_query_pb2

from guard.errors import StatementNotPassed
from guard.measure import measure

_REMEMBERED = 1024
_COMMENTS = frozenset({pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT})


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement without its literals and comments.

    Attributes:
        fingerprint: 16 hexadecimal digits, the same for statements that differ in literals only.
        text: With a parameter in place of each literal.
    """

    fingerprint: str
    text: str


@lru_cache(_REMEMBERED)
def shape(text: str) -> Shape | None:
    """The shape of *text*; None when it cannot be read, or not without harm."""
    try:
        measure(text)  # a text that was never judged could end the process
        return Shape(postgast.fingerprint(text).hex, _bare(postgast.normalize(text)))
    except (StatementNotPassed, postgast.PgQueryError):
        return None


def _bare(text: str) -> str:
    """*text* without comments, which may hold anything."""
    source = text.encode()
    parts, at = [], 0
    for token in postgast.scan(text).tokens:
        if token.token in _COMMENTS:
            parts.append(source[at : token.start])
            at = token.end
    return b"".join([*parts, source[at:]]).decode().strip()
