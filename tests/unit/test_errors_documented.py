"""Whoever meets an error code finds it explained, with the status that it has at the door."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pools.errors
from router.problems import RULES
from tiergate.errors import TiergateError

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "errors.md"
PACKAGES = (
    "tiergate",
    "config",
    "registry",
    "guard",
    "pools",
    "fleet",
    "moves",
    "router",
    "verify",
    "admin",
    "observe",
)
AT_THE_DOOR = ("router.", "pools.", "registry.", "guard.errors")
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\S+) \| (\S+) \| (yes|no) \| (.+) \|$", re.MULTILINE)


def modules() -> Iterator[str]:
    """Every module of ours that can be imported without doing anything."""
    for package in PACKAGES:
        if (ROOT / package / "__init__.py").exists():
            for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
                if not module.name.endswith("__main__") and ".versions" not in module.name:
                    yield module.name


def kinds(base: type[TiergateError]) -> Iterator[type[TiergateError]]:
    """All subclasses, direct or not, that are defined in our packages."""
    for kind in base.__subclasses__():
        if kind.__module__.split(".")[0] in PACKAGES:
            yield kind
        yield from kinds(kind)


for name in modules():
    importlib.import_module(name)
ERRORS = sorted(set(kinds(TiergateError)), key=lambda kind: (kind.__module__, kind.__qualname__))
EXPLAINED = {row[0]: row[1:] for row in ROW.findall(REFERENCE.read_text(encoding="utf-8"))}
each_error = pytest.mark.parametrize(
    "kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}"
)


@each_error
def test_every_error_is_explained(kind: type[TiergateError]) -> None:
    assert kind.code in EXPLAINED


@each_error
def test_the_reference_says_truly_whether_to_try_again(kind: type[TiergateError]) -> None:
    assert EXPLAINED[kind.code][2] == ("yes" if kind.retryable else "no")


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in ERRORS
        if kind.__module__.startswith(AT_THE_DOOR) and kind is not pools.errors.StatementFailed
    ],
    ids=lambda kind: kind.code,
)
def test_every_error_that_can_reach_the_door_has_its_status_and_sqlstate(kind: type[TiergateError]) -> None:
    rule = next(RULES[base] for base in kind.__mro__ if base in RULES)

    assert EXPLAINED[kind.code][:2] == (str(rule.status), f"`{rule.sqlstate}`")


def test_no_code_is_explained_that_does_not_exist() -> None:
    assert set(EXPLAINED) == {kind.code for kind in ERRORS} | {"internal"}


def test_codes_are_lower_case_words_with_hyphens() -> None:
    assert [kind.code for kind in ERRORS if not re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)] == []
