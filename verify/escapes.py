"""The known ways out, as data: read from `data/escapes.yaml`."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import yaml

from tiergate.tenant import Tier
from verify.checks import data


class Must(StrEnum):
    """What has to come of a try."""

    REFUSED = "refused"
    NOTHING = "nothing"
    RUNS = "runs"


class Way(StrEnum):
    """How a try reaches the database."""

    REQUEST = "request"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Escape:
    """One try.

    Attributes:
        sql: Statements, with names in braces.
        codes: Other SQLSTATEs with which it may be refused than the usual ones.
        database: With a login: where to, with names in braces; None for the tenant's own.
        is_ordinary: Whether any program may say it, so that the guard may let it pass.
        is_guarded: Whether it proves nothing where all of SQL may be run.
    """

    name: str
    sql: tuple[str, ...]
    must: Must
    way: Way
    tiers: frozenset[Tier]
    codes: frozenset[str]
    database: str | None
    is_ordinary: bool
    is_guarded: bool


@cache
def escapes() -> tuple[Escape, ...]:
    """All of them, in the order in which they are tried."""
    return tuple(_read(said) for said in yaml.safe_load(data("escapes.yaml")))


def _read(said: dict[str, Any]) -> Escape:  # Any: YAML
    sql = said["sql"]
    return Escape(
        said["name"],
        (sql,) if isinstance(sql, str) else tuple(sql),
        Must(said["must"]),
        Way(said.get("door", Way.REQUEST)),
        frozenset(map(Tier, said.get("tiers", Tier))),
        frozenset(said.get("codes", ())),
        said.get("database"),
        said.get("ordinary", False),
        said.get("guarded", False),
    )
