"""One SQL statement as it came, and the form in which it is sent.

A statement goes out behind a common table expression that nobody reads. With it
in front, Postgres's own grammar accepts SELECT, INSERT, UPDATE, DELETE, MERGE and
VALUES, and nothing else: no SET, COMMIT, PREPARE, LISTEN, DO or COPY, however the
text is dressed. That holds without any parser of ours.

Source:
    PostgreSQL 18, SQL commands, SELECT: `with_query`; gram.y, `PreparableStmt`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from pools.errors import StatementRefused

_WITH_US = "tiergate_q AS (SELECT 1)"
_ALLOWED = frozenset({"select", "values", "table", "insert", "update", "delete", "merge"})
_BLANK = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n\r]*)*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and its parameters.

    Attributes:
        text: SQL as the caller wrote it, with $1, $2, … for parameters.
        params: Postgres's text form in UTF-8, None for NULL.
    """

    text: str
    params: tuple[bytes | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Fenced:
    """A statement's text with the fence put in.

    Attributes:
        sql: What goes to the server, UTF-8.
        at: Where the fence was put in, in characters from the start.
        added: The fence's length in characters; 0 when the statement needs none.
    """

    sql: bytes
    at: int
    added: int

    def position(self, reported: int) -> int:
        """The place in the caller's text, from 1, of an error that the server *reported*."""
        if reported <= self.at + 1:
            return reported
        return max(self.at + 1, reported - self.added)


@lru_cache(maxsize=4096)
def fence(text: str) -> Fenced:
    """Put the fence into *text*.

    A statement that begins with a parenthesis needs none: only a query can.

    Raises:
        StatementRefused: It begins with a word that no query begins with, or there is nothing in it.
    """
    start = _after_blank(text, 0)
    if text[start : start + 1] == "(":
        return Fenced(text.encode(), start, 0)
    word = _WORD.match(text, start)
    keyword = word.group().lower() if word else ""
    if keyword in _ALLOWED:
        return _insert(text, start, f"WITH {_WITH_US} ")
    if keyword != "with" or word is None:
        raise StatementRefused(keyword)
    at = _after_blank(text, word.end())
    following = _WORD.match(text, at)
    if following and following.group().lower() == "recursive":
        return _insert(text, following.end(), f" {_WITH_US},")
    return _insert(text, word.end(), f" {_WITH_US},")


def _insert(text: str, at: int, added: str) -> Fenced:
    return Fenced((text[:at] + added + text[at:]).encode(), at, len(added))


def _after_blank(text: str, at: int) -> int:
    """Where the next token begins: behind white space and comments, which may be nested.

    Source:
        PostgreSQL 18, 4.1.5 "Comments"; scan.l, `space` and `xcstart`.
    """
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if not text.startswith("/*", at):
            return at
        depth = 0
        for edge in _COMMENT_EDGE.finditer(text, at):
            depth += 1 if edge.group() == "/*" else -1
            if depth == 0:
                at = edge.end()
                break
        else:
            return len(text)
