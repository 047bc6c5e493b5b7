"""The lists in `guard/data`: what may be named, what must not be, what Postgres and its extensions bring."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What every tier's statements may name; functions and types by the group they are shown in.

    Attributes:
        collations: Those without a locale in their name.
        settings: What current_setting may be asked for, in lower case.
        attributes: Names that are harmless after a dot though a cast or a function is called so.
    """

    functions: dict[str, tuple[str, ...]]
    types: dict[str, tuple[str, ...]]
    operators: frozenset[str]
    collations: frozenset[str]
    settings: frozenset[str]
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Extension:
    """What an operator allows by an extension's name; built-in names are not repeated."""

    functions: frozenset[str]
    types: frozenset[str]
    operators: frozenset[str]


@dataclass(frozen=True, slots=True)
class Dangerous:
    """Patterns of names that are never allowed, each with its reason, which completes a sentence: "it …"."""

    functions: dict[str, str]
    types: dict[str, str]
    extensions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Builtins:
    """The names that `(x).f` may call in any version that we serve, if no column has them.

    Attributes:
        functions: Those of Postgres, and the dangerous ones of its extensions.
        types: Arrays, too, as `_int4`.
    """

    functions: frozenset[str]
    types: frozenset[str]


@cache
def allowed() -> Allowed:
    """What is on the list, from `allowed.yaml`."""
    told = _read("allowed")
    return Allowed(
        functions={group: tuple(words.split()) for group, words in told["functions"].items()},
        types={group: tuple(words.split()) for group, words in told["types"].items()},
        operators=_words(told["operators"]),
        collations=_words(told["collations"]),
        settings=_words(told["settings"]),
        attributes=_words(told["attributes"]),
    )


@cache
def extensions() -> dict[str, Extension]:
    """The extensions that can be added by name, from `extensions.yaml`."""
    return {
        name: Extension(*(_words(parts.get(part, "")) for part in ("functions", "types", "operators")))
        for name, parts in _read("extensions").items()
    }


@cache
def dangerous() -> Dangerous:
    """What must not be added, from `dangerous.yaml`."""
    told = _read("dangerous")
    return Dangerous(
        *(
            {pattern: entry["reason"] for entry in told[part] for pattern in entry["names"].split()}
            for part in ("functions", "types", "extensions")
        )
    )


@cache
def builtins() -> Builtins:
    """What takes one argument, from `builtins.yaml`."""
    told = _read("builtins")
    return Builtins(_words(told["functions"]), _words(told["types"]))


def why_dangerous(name: str, patterns: dict[str, str]) -> str | None:
    """The reason of the first pattern that *name* fits; None if it fits none."""
    return next((why for pattern, why in patterns.items() if fnmatchcase(name, pattern)), None)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _read(name: str) -> Any:  # what YAML holds
    return yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
