"""What is checked: each check a query that returns mistakes, under a code that stays.

The queries lie in `data/*.sql`, each below a heading: `-- @ code scope weight`, then what is wrong
when it finds something, then what to do next. A heading without a query is looked into by `verify/look.py`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

_FILES = ("roles.sql", "server.sql", "database.sql", "tables.sql")
_HEADING = re.compile(
    r"^-- @ (?P<code>[a-z-]+) (?P<scope>[a-z]+) (?P<weight>[a-z]+)\n"
    r"-- (?P<what>.+)\n-- Next: (?P<next>.+)\n",
    re.MULTILINE,
)


class Scope(StrEnum):
    """What a query is about, and so where and how often it runs."""

    SERVER = "server"
    DATABASE = "database"
    PLACE = "place"
    TRY = "try"


class Weight(StrEnum):
    """How bad a mistake is."""

    FAILED = "failed"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be wrong.

    Attributes:
        what: What it means when it is.
        advice: What to do then.
        sql: Returns place or NULL, the object, and what is wrong with it; empty where Python does.
    """

    code: str
    scope: Scope
    weight: Weight
    what: str
    advice: str
    sql: str = ""


@cache
def checks() -> dict[str, Check]:
    """Every check by its code, in the order in which they are made."""
    return {check.code: check for name in _FILES for check in _read(name)}


def queries(*scopes: Scope) -> list[Check]:
    """The checks of these scopes that are queries."""
    return [check for check in checks().values() if check.sql and check.scope in scopes]


def data(name: str) -> str:
    """A file of this package's data."""
    return resources.files("verify").joinpath("data", name).read_text(encoding="utf-8")


def _read(name: str) -> list[Check]:
    text, prelude = data(name), data("prelude.sql")
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return [
        Check(
            heading["code"],
            Scope(heading["scope"]),
            Weight(heading["weight"]),
            heading["what"],
            heading["next"],
            prelude + query if (query := text[heading.end() : end]).strip() else "",
        )
        for heading, end in zip(headings, ends, strict=True)
    ]
