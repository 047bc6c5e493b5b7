"""What the looker-on has chosen, and what each key changes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tiergate.cli.top.view import Row

_LONGEST_FILTER = 63
_KEY = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]?|O.?)?|.", re.DOTALL)

ESCAPE, ENTER, ERASE = "escape", "enter", "erase"
_NAMED = {"\x1b": ESCAPE, "\r": ENTER, "\n": ENTER, "\x7f": ERASE, "\b": ERASE}


class Sort(StrEnum):
    """What tenants are sorted by."""

    REQUESTS = "requests"
    ERRORS = "errors"
    WAITING = "waiting"
    TIME = "time"

    def of(self, tenant: Row) -> tuple[float, float]:
        """How much of it a tenant has; of those with the same, who asks for more comes first."""
        requests = float(tenant["requests_per_s"])
        match self:
            case Sort.REQUESTS:
                return requests, 0.0
            case Sort.ERRORS:
                return float(tenant["errors_per_s"]), requests
            case Sort.WAITING:
                return float(tenant["waiting"]), float(tenant["waited_s"])
            case Sort.TIME:
                return float(tenant["connections"]), requests


class Page(StrEnum):
    """What fills the screen."""

    ALL = "all"
    TROUBLE = "trouble"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class State:
    """What has been chosen.

    Attributes:
        filter: Shown are tenants and moves in whose tenant, tier or cluster this occurs.
        is_typing: Keys go to the filter.
        by_pool: Pools are shown instead of clusters.
    """

    sort: Sort = Sort.REQUESTS
    filter: str = ""
    is_typing: bool = False
    is_paused: bool = False
    by_pool: bool = False
    page: Page = Page.ALL
    is_over: bool = False


def _next(sort: Sort) -> Sort:
    order = list(Sort)
    return order[(order.index(sort) + 1) % len(order)]


_CHANGES: Mapping[str, Callable[[State], dict[str, Any]]] = {  # Any: fields of State
    "s": lambda state: {"sort": _next(state.sort)},
    "r": lambda _: {"sort": Sort.REQUESTS},
    "e": lambda _: {"sort": Sort.ERRORS},
    "w": lambda _: {"sort": Sort.WAITING},
    "t": lambda _: {"sort": Sort.TIME},
    "/": lambda _: {"is_typing": True},
    "f": lambda _: {"is_typing": True},
    "p": lambda state: {"is_paused": not state.is_paused},
    " ": lambda state: {"is_paused": not state.is_paused},
    "c": lambda state: {"by_pool": not state.by_pool},
    "a": lambda _: {"page": Page.TROUBLE},
    "h": lambda _: {"page": Page.HELP},
    "?": lambda _: {"page": Page.HELP},
    ESCAPE: lambda _: {"filter": ""},
}


def keys_in(text: str) -> list[str]:
    """The keys in what a terminal sent; "" for those that mean nothing here."""
    found = _KEY.findall(text)
    return [_NAMED.get(key, "" if key.startswith("\x1b") or not key.isprintable() else key) for key in found]


def press(state: State, key: str) -> State:
    """What is chosen once *key* was pressed."""
    if state.is_typing:
        return _typed(state, key)
    if key == "q":
        return replace(state, is_over=True)
    if state.page is not Page.ALL and key:
        return replace(state, page=Page.ALL)
    changes = _CHANGES.get(key)
    return replace(state, **changes(state)) if changes is not None else state


def _typed(state: State, key: str) -> State:
    match key:
        case "enter":
            return replace(state, is_typing=False)
        case "escape":
            return replace(state, is_typing=False, filter="")
        case "erase":
            return replace(state, filter=state.filter[:-1])
        case _:
            return replace(state, filter=(state.filter + key)[:_LONGEST_FILTER])


def is_meant(state: State, *words: object) -> bool:
    """Whether the filter lets something through that goes by these *words*."""
    wanted = state.filter.casefold()
    return not wanted or any(wanted in str(word or "").casefold() for word in words)
