"""One SQL statement as it came, and the form in which it is sent.

A statement goes out behind a common table expression that nobody reads. With it
in front, Postgres's own grammar accepts SELECT, INSERT, UPDATE, DELETE, MERGE and
VALUES, and nothing else: no SET, COMMIT, PREPARE, LISTEN, DO or COPY, however the
text is dressed. That holds without any parser of ours. In front of a query that
is to be explained it does the same.

Where an operator lets all of SQL through, other statements go out as they are, and
the connection is nobody's afterwards.

Source:
    PostgreSQL 18, SQL commands, SELECT: `with_query`; gram.y, `PreparableStmt`.
"""

import re
import sys
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

import postgast

from pools.errors import StatementCostly, StatementRefused, StatementTooLong
from tiergate.scanning import is_slow_to_scan

_LONGEST_SCANNED = 64 * 1024  # the scanner takes about 1.5 µs a token
_LARGE_PARAMETER = re.compile(
    r"\$0*(?:[1-9][0-9]{5}|[7-9][0-9]{4}|6[6-9][0-9]{3}|65[6-9][0-9]{2}|655[4-9][0-9]|6553[6-9])"
)
_MOST_PARAMETERS = 65535
_LONGEST_WORD = 63  # as of Postgres's own names
_LONGEST_REMEMBERED = 4096  # times as many texts: 64 MB at worst
_WITH_US = "tiergate_q AS (SELECT 1)"
_ALLOWED = frozenset({"select", "values", "table", "insert", "update", "delete", "merge"})
# What would leave the transaction, or turn the connection into a stream: never sent, whatever else may be.
_NEVER = frozenset(
    {"abort", "begin", "commit", "copy", "end", "prepare", "release", "rollback", "savepoint", "start"}
)
_EXPLAIN_OPTIONS = re.compile(r"\([A-Za-z0-9_, \t\n\r\f\v]*\)")
_EXPLAIN_WORDS = frozenset({"analyze", "analyse", "verbose"})
_ESCAPED = 'u&"'
_BLANK = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n\r]*)*")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")
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


class Reach(Enum):
    """Which statements are sent: queries and changes of rows; their plans, too; or any."""

    QUERIES = auto()
    PLANS = auto()
    ANYTHING = auto()


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to a text: at *at*, *removed* characters gave way to *added*; counted in the original."""

    at: int
    removed: int
    added: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """A statement's text with the fence put in.

    Attributes:
        sql: What goes to the server, UTF-8.
        edits: What was changed for that, from left to right.
        is_free: It is no query and has no fence: nobody else may use the connection afterwards.
    """

    sql: bytes
    edits: tuple[Edit, ...]
    is_free: bool = False

    def position(self, reported: int) -> int:
        """The place in the caller's text, from 1, of an error that the server *reported*."""
        shift = 0
        for edit in self.edits:
            here = edit.at + shift
            if reported - 1 < here:
                break
            if reported - 1 < here + len(edit.added):
                return edit.at + 1
            shift += len(edit.added) - edit.removed
        return reported - shift


@dataclass(frozen=True, slots=True)
class Renaming:
    """The application's schema: the names that callers may write, and the one it has where the tenant lives.

    The same on every tier, so that the same SQL runs before and after a move.
    """

    written: frozenset[str]
    lives: str


def fence(text: str, renaming: Renaming | None = None, reach: Reach = Reach.QUERIES) -> Fenced:
    """Put the fence into *text*, and the schema's real name where the caller wrote the application's.

    A statement that begins with a parenthesis needs no fence: only a query can.

    Raises:
        StatementRefused: It begins with a word that is not within *reach*, or there is nothing in it.
        StatementTooLong: It names the schema, or a large parameter, and is too long to be searched for that.
        StatementCostly: The server could not bound what it takes to read it.
    """
    return (_remembered if len(text) <= _LONGEST_REMEMBERED else _fenced)(text, renaming, reach)


def _fenced(text: str, renaming: Renaming | None, reach: Reach) -> Fenced:
    _refuse_costly(text)
    edits, is_free = _fence(text, reach)
    if renaming is not None and any(name in text.lower() for name in (*renaming.written, _ESCAPED)):
        edits += _rename(text, renaming)
    return Fenced(_edited(text, edits).encode(), tuple(edits), is_free)


_remembered = lru_cache(maxsize=4096)(_fenced)


def _refuse_costly(text: str) -> None:
    """Keep from the server what would hold it up before any of its limits begins to count."""
    if is_slow_to_scan(text):
        raise StatementCostly("it holds too many operator characters in a row")
    if _LARGE_PARAMETER.search(text) is None:
        return
    source = text.encode()
    for start, end in _scan(text):
        word = source[start:end]
        # The server makes room for every parameter up to the highest number: 1 GB for $268435455.
        if word.startswith(b"$") and word[1:].isdigit() and int(word[1:]) > _MOST_PARAMETERS:
            raise StatementCostly(f"a parameter's number is over {_MOST_PARAMETERS}")


def _scan(text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends, in bytes, by Postgres's own scanner; none when it minds the text."""
    if len(text) > _LONGEST_SCANNED:
        raise StatementTooLong(_LONGEST_SCANNED)
    try:
        return [(token.start, token.end) for token in postgast.scan(text).tokens]
    except postgast.PgQueryError:
        return []  # the server says better what is wrong


def _fence(text: str, reach: Reach) -> tuple[list[Edit], bool]:
    """The fence, and whether there is none because the statement may be any."""
    start = _after_blank(text, 0)
    if text[start : start + 1] == "(":
        return [], False
    keyword = _keyword(text, start)
    query = start
    if keyword == "explain" and reach is not Reach.QUERIES:
        query = _after_explain(text, start + len(keyword))
    edit = _before_query(text, query)
    if edit is not None:
        return [edit], False
    if reach is not Reach.ANYTHING or not keyword or keyword in _NEVER:
        raise StatementRefused(keyword[:_LONGEST_WORD])
    return [], True


def _keyword(text: str, at: int) -> str:
    word = _WORD.match(text, at)
    return word.group().lower() if word else ""


def _after_explain(text: str, at: int) -> int:
    """Where the query begins whose plan is wanted; options are plain words, or the query is not found."""
    at = _after_blank(text, at)
    if (options := _EXPLAIN_OPTIONS.match(text, at)) is not None:
        return _after_blank(text, options.end())
    while (keyword := _keyword(text, at)) in _EXPLAIN_WORDS:
        at = _after_blank(text, at + len(keyword))
    return at


def _before_query(text: str, start: int) -> Edit | None:
    """The fence for the query that begins at *start*; None when none begins there."""
    word = _WORD.match(text, start)
    keyword = word.group().lower() if word else ""
    if keyword in _ALLOWED:
        return Edit(start, 0, f"WITH {_WITH_US} ")
    if keyword != "with" or word is None:
        return None
    following = _WORD.match(text, _after_blank(text, word.end()))
    if following and following.group().lower() == "recursive" and not _is_name(text, following.end()):
        word = following
    return Edit(word.end(), 0, f" {_WITH_US},")


def _is_name(text: str, end: int) -> bool:
    """Whether the word that ends at *end* names a query: RECURSIVE may, for it is not reserved."""
    at = _after_blank(text, end)
    following = _WORD.match(text, at)
    return text[at : at + 1] == "(" or (following is not None and following.group().lower() == "as")


def _rename(text: str, renaming: Renaming) -> list[Edit]:
    """Where *text* qualifies a name with the application's schema.

    Goes by Postgres's own scanner, so that strings and comments are left alone. An
    alias of that very name is taken for the schema: the statement then fails.
    """
    source = text.encode()
    tokens = [each for each in _scan(text) if not source.startswith((b"--", b"/*"), each[0])]
    words = [source[start:end].decode() for start, end in tokens]
    edits, bytes_before, before_this = [], 0, 0
    for at, (start, _) in enumerate(tokens):
        name, last = _identifier(words, at)
        is_first = at == 0 or words[at - 1] != "."
        if name in renaming.written and is_first and words[last + 1 : last + 2] == ["."]:
            end = tokens[last][1]
            before_this += len(source[bytes_before:start].decode())
            bytes_before = start
            edits.append(Edit(before_this, len(source[start:end].decode()), f'"{renaming.lives}"'))
    return edits


def _identifier(words: list[str], at: int) -> tuple[str, int]:
    """The name that begins at *at*, as Postgres reads it, and the place of its last word.

    Source:
        PostgreSQL 18, 4.1.1 "Identifiers and Key Words": Unicode escapes.
    """
    word = words[at]
    if word.startswith('"'):
        return word[1:-1].replace('""', '"'), at
    if word[:3].lower() != _ESCAPED:
        return (word.lower() if word.isascii() else word), at
    last, escape = at, "\\"
    if [each.lower() for each in words[at + 1 : at + 2]] == ["uescape"] and at + 2 < len(words):
        last, escape = at + 2, words[at + 2].strip("'")
    mark = re.escape(escape)
    code = re.compile(rf"{mark}(?:({mark})|([0-9A-Fa-f]{{4}})|\+([0-9A-Fa-f]{{6}}))")
    return code.sub(_decoded, word[3:-1].replace('""', '"')), last


def _decoded(code: re.Match[str]) -> str:
    number = int(code[2] or code[3] or "0", 16)
    return code[1] or (chr(number) if number <= sys.maxunicode else "\0")  # which no name holds


def _edited(text: str, edits: list[Edit]) -> str:
    parts, at = [], 0
    for edit in edits:
        parts += [text[at : edit.at], edit.added]
        at = edit.at + edit.removed
    return "".join([*parts, text[at:]])


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
