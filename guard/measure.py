"""What a text costs to parse, found before it is parsed: Postgres's parser trusts its caller.

Each level of a tree takes stack while the tree is written out, and a process without
stack is gone. The levels are not known before parsing, so they are bounded by what
makes them: each takes a token at least, and no two elements of a list are within
each other.
"""

import re
from dataclasses import dataclass, field

import postgast
from postgast import pg_query_pb2

from guard.errors import StatementRefused, StatementTooComplex, StatementUnreadable
from tiergate.scanning import is_slow_to_scan

MOST_BYTES = 64 * 1024
MOST_TOKENS = 20_000
MOST_ON_PATH = 4_000
# Writing out a tree was seen to take up to 161 bytes of stack a token and 81 a byte: such a path needs
# 650 KB, and so short a text 330 KB, whatever it says. The smallest stack of a usual thread is 1 MB.
_ALWAYS_FLAT = 4_000
# `(a, b) =` may be a target of SET; then what follows is written out once for each column, and within it
# again: 980 characters gave 274 MB.
_MULTIPLIED = re.compile(rb"\)\s*(?:=|--|/\*)")

_COMMENTS = frozenset({pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT})
_OPENING = frozenset({pg_query_pb2.ASCII_40, pg_query_pb2.ASCII_91})
_CLOSING = frozenset({pg_query_pb2.ASCII_41, pg_query_pb2.ASCII_93})
_COMMA = pg_query_pb2.ASCII_44
_SEMICOLON = pg_query_pb2.ASCII_59
_EQUALS = pg_query_pb2.ASCII_61
_BEFORE_TARGETS = frozenset({pg_query_pb2.SET, _COMMA})
_SET_OPERATIONS = frozenset({pg_query_pb2.UNION, pg_query_pb2.INTERSECT, pg_query_pb2.EXCEPT})
_FIRST = frozenset(
    {
        pg_query_pb2.ASCII_40,
        pg_query_pb2.DELETE_P,
        pg_query_pb2.EXPLAIN,
        pg_query_pb2.INSERT,
        pg_query_pb2.MERGE,
        pg_query_pb2.SELECT,
        pg_query_pb2.TABLE,
        pg_query_pb2.UPDATE,
        pg_query_pb2.VALUES,
        pg_query_pb2.WITH,
    }
)


def measure(text: str) -> bytes:
    """The text in UTF-8, if it can be parsed without harm.

    Raises:
        StatementTooComplex: It cannot.
        StatementUnreadable: It is no text, or the scanner does not know what to make of it.
        StatementRefused: A long text is more than one statement, or none that may run.
    """
    try:
        source = text.encode()
    except UnicodeEncodeError as exc:
        raise StatementUnreadable("the text holds half a surrogate pair", exc.start + 1) from exc
    if len(source) > MOST_BYTES:
        raise StatementTooComplex(f"it has more than {MOST_BYTES} bytes")
    if b"\0" in source:
        raise StatementUnreadable("the text holds a NUL", text.index("\0") + 1)
    if is_slow_to_scan(text):
        raise StatementTooComplex("it holds too many operator characters in a row")
    if len(source) > _ALWAYS_FLAT or _MULTIPLIED.search(source):
        _weigh(text, source)
    return source


def character(source: bytes, at: int) -> int:
    """The character, from 1, that byte *at* of *source* belongs to."""
    return len(source[:at].decode(errors="ignore")) + 1


@dataclass(slots=True)
class _Level:
    """What is between two brackets, or outside of all.

    Attributes:
        weight: How often its tokens are written out, at its start.
        may_be_targets: It stands where SET has its targets.
        now: The same as weight for the element that is being read.
        run: Tokens of this element.
        deepest: The longest path within brackets in this element.
        longest: The longest path of an element before it.
        set_operations: So many; they stand within each other, and commas do not end them.
        commas: So many.
    """

    weight: int
    may_be_targets: bool = False
    now: int = field(init=False)
    run: int = 0
    deepest: int = 0
    longest: int = 0
    set_operations: int = 0
    commas: int = 0

    def __post_init__(self) -> None:
        self.now = self.weight

    def end_element(self) -> None:
        self.longest = max(self.longest, self.run + self.deepest)
        self.run = self.deepest = 0
        self.now = self.weight
        self.commas += 1

    def path(self) -> int:
        return max(self.longest, self.run + self.deepest) + self.set_operations


@dataclass(slots=True)
class _Scale:
    """Reads tokens one after another and knows what they come to.

    Attributes:
        level: Where the last token was.
        outer: The levels around it, from the outside in.
        above: Tokens of those that everything in *level* is within.
        columns: How many targets the last pair of brackets named, if it named targets of SET.
        written: Tokens so far, each as often as it is written out.
    """

    level: _Level = field(default_factory=lambda: _Level(weight=1))
    outer: list[_Level] = field(default_factory=list)
    above: int = 0
    before: int = 0
    columns: int = 1
    written: int = 0

    def take(self, kind: int) -> None:
        level = self.level
        self.written += level.now
        level.run += 1
        if kind in _OPENING:
            self.outer.append(level)
            self.above += level.run + level.set_operations
            self.level = _Level(level.now, may_be_targets=self.before in _BEFORE_TARGETS)
        elif kind in _CLOSING and self.outer:
            self.columns = level.commas + 1 if level.may_be_targets else 1
            self.level = self.outer.pop()
            self.level.deepest = max(self.level.deepest, level.path())
            self.above -= self.level.run + self.level.set_operations
        elif kind == _COMMA:
            level.end_element()
        elif kind == _EQUALS and self.before in _CLOSING:
            level.now *= self.columns
        elif kind in _SET_OPERATIONS:
            level.set_operations += 2
        self.before = kind


def _weigh(text: str, source: bytes) -> None:
    try:
        tokens = [token for token in postgast.scan(text).tokens if token.token not in _COMMENTS]
    except postgast.PgQueryError as exc:
        raise StatementUnreadable(exc.message, max(1, exc.cursorpos)) from exc
    if tokens and tokens[0].token not in _FIRST:
        raise StatementRefused("this does not run here", character(source, tokens[0].start))
    scale = _Scale()
    for token in tokens:
        if scale.before == _SEMICOLON and token.token != _SEMICOLON:
            raise StatementRefused("there is more than one statement", character(source, token.start))
        scale.take(token.token)
        if scale.written > MOST_TOKENS:
            reason = f"it has more than {MOST_TOKENS} tokens, each counted as often as it is written out"
        elif scale.above + scale.level.path() > MOST_ON_PATH:
            reason = f"more than {MOST_ON_PATH} tokens are within each other"
        else:
            continue
        raise StatementTooComplex(reason, character(source, token.start))
