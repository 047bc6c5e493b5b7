"""The plain statements of PostgreSQL's own regression tests, read from a folder `src/test/regress/sql`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What psql sees: comments, the kinds of quotes, its own commands to the end of their line, and the rest.
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | \\; | \\[^\n]* | ; | .""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"\(*\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|VALUES|WITH|TABLE)\b", re.IGNORECASE)
_COPY = re.compile(r"\s*COPY\b.*\bFROM\s+STDIN\b", re.IGNORECASE | re.DOTALL)
_END_OF_DATA = "\n\\.\n"
# psql puts a variable's value here; without psql it is no SQL.
_VARIABLE = re.compile(r"(?<![:\w]):['\"]?[a-z_]\w*['\"]?", re.IGNORECASE)
_MADE = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\s+|TEMPORARY\s+|UNLOGGED\s+|RECURSIVE\s+|MATERIALIZED\s+)*"
    r"(?:FUNCTION|AGGREGATE|TYPE|DOMAIN|OPERATOR|TABLE|VIEW|COLLATION|SCHEMA)\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?(?:\w+\.)?([^\s(;]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Regress:
    """Statements, and the names that the tests make for themselves: functions, types, operators, schemas."""

    statements: list[str]
    made: frozenset[str]


def read_regress(folder: Path) -> Regress:
    """Every SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and WITH of the files, each text once.

    Statements with psql's variables in them are left out, and so is what a COPY reads.

    Raises:
        FileNotFoundError: There is no SQL in *folder*.
    """
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise FileNotFoundError(
            f"no *.sql in {folder}; name a folder like postgresql-18.0/src/test/regress/sql"
        )
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    plain = (statement for text in texts for statement in _statements(text) if _PLAIN.match(statement))
    made = {name.strip('"').lower() for text in texts for name in _MADE.findall(text)}
    made |= {name.replace("range", "multirange") for name in made}  # Postgres makes these by itself
    return Regress(list(dict.fromkeys(each for each in plain if not _VARIABLE.search(each))), frozenset(made))


def _statements(text: str) -> Iterator[str]:
    """The statements of one file, without the comments before them."""
    words: list[str] = []
    depth = resume = 0
    for token in _TOKEN.finditer(text):
        if token.start() < resume:
            continue
        word = token[0]
        depth = max(0, depth + (word == "(") - (word == ")"))
        if (word == ";" and not depth) or word.startswith("\\"):
            statement = "".join(words).strip()
            words, depth = [], 0
            if statement:
                yield statement
            if _COPY.match(statement):
                resume = text.find(_END_OF_DATA, token.end()) + len(_END_OF_DATA)
        elif words or not (word.isspace() or word.startswith(("--", "/*"))):
            words.append(word)
