"""Cuts what is typed into statements, the way Postgres reads it."""

import re
from dataclasses import dataclass, field

# What may open something that a semicolon does not end. Identifiers come first, so that the $ in a$b$
# opens nothing, and so that e'…' is told from the end of a longer word.
# Source: PostgreSQL 18, 4.1 "Lexical Structure".
_TOKEN = re.compile(
    r"""
      (?P<escape>[eE]')
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*)
    | (?P<dollar>\$(?:[A-Za-z_\u0080-\U0010ffff][\w\u0080-\U0010ffff]*)?\$)
    | (?P<parameter>\$[0-9]+)
    | (?P<quote>')
    | (?P<name>")
    | (?P<line>--)
    | (?P<block>/\*)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<end>;)
    """,
    re.VERBOSE,
)
_INSIDE = {
    "quote": (re.compile(r"''|'"), "'"),
    "escape": (re.compile(r"\\.|''|'", re.DOTALL), "'"),
    "name": (re.compile(r'""|"'), '"'),
}
"""By what opened it: what matters until its end, and what ends it."""
_IN_BLOCK = re.compile(r"/\*|\*/")


@dataclass(slots=True)
class Script:
    """Text that grows line by line, and the statements that are complete in it.

    Attributes:
        within: What the end of the text is in: "" between tokens, else `'`, `"`, `$`, `*` or `(`.
    """

    within: str = ""
    _text: str = field(default="", repr=False)

    def feed(self, text: str) -> list[str]:
        """Add *text*; what is now complete, without the semicolons and without empty statements."""
        self._text += text
        done: list[str] = []
        begin = at = depth = 0
        self.within = ""
        while (found := _TOKEN.search(self._text, at)) is not None:
            at = found.end()
            kind = found.lastgroup
            if kind == "end" and depth == 0:
                done.append(self._text[begin : found.start()])
                begin = at
            elif kind == "open":
                depth += 1
            elif kind == "close":
                depth = max(0, depth - 1)
            elif (opened := self._skip(kind or "", found[0], at)) is not None:
                at = opened
                if self.within:
                    break
        self._text = self._text[begin:]
        if depth and not self.within:
            self.within = "("
        return [statement.strip() for statement in done if not is_blank(statement)]

    def rest(self) -> str:
        """What is not ended by a semicolon yet, if it says anything; forgets it."""
        left, self._text, self.within = self._text, "", ""
        return "" if is_blank(left) else left.strip()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for its semicolon, but for white space and comments that have ended."""
        return not self.within and is_blank(self._text)

    def _skip(self, kind: str, opening: str, at: int) -> int | None:
        """Where what *opening* opens ends, be it the end of the text; None when it opens nothing."""
        if (inner := _INSIDE.get(kind)) is not None:
            return self._past(*inner, at)
        match kind:
            case "dollar":
                end = self._text.find(opening, at)
                return self._found(end + len(opening) if end >= 0 else None, "$")
            case "line":
                end = self._text.find("\n", at)
                return len(self._text) if end < 0 else end
            case "block":
                return self._past_block(at)
            case _:
                return None

    def _past(self, inner: re.Pattern[str], quote: str, at: int) -> int:
        for found in inner.finditer(self._text, at):
            if found[0] == quote:
                return self._found(found.end(), quote)
        return self._found(None, quote)

    def _past_block(self, at: int) -> int:
        depth = 1
        for found in _IN_BLOCK.finditer(self._text, at):
            depth += 1 if found[0] == "/*" else -1
            if depth == 0:
                return self._found(found.end(), "*")
        return self._found(None, "*")

    def _found(self, end: int | None, within: str) -> int:
        if end is None:
            self.within = within
            return len(self._text)
        return end


_BLANK = re.compile(r"(?:\s|;|--[^\n]*)*")


def is_blank(text: str) -> bool:
    """Whether *text* says nothing: white space and comments to the end of a line."""
    return _BLANK.fullmatch(text) is not None
