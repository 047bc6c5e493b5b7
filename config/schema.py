"""The settings as a tree, read off the dataclasses: what there is, of which kind, within which bounds.

The one description behind messages, the documentation and the list of what can
change while running, so that none of them can disagree with the types.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, assert_never, get_args, get_origin, get_type_hints

from config.settings import Settings
from tiergate.tenant import Tier


class Kind(StrEnum):
    """What a setting's value is."""

    WHOLE = "whole number"
    NUMBER = "number"
    TEXT = "text"
    PATH = "path"
    CHOICE = "one word"
    CHOICES = "list of words"
    NAMES = "list of names"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting.

    Attributes:
        low, high: Bounds of a number, or of a text's length; None where there is none.
        choices: The words allowed; empty for other kinds.
        nullable: Whether null is a value of its own (something is switched off).
        secret: Whether its value must never be shown.
    """

    name: str
    kind: Kind
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    nullable: bool
    secret: bool

    def wanted(self) -> str:
        """What a value must be, as it follows the verb "write"."""
        match self.kind:
            case Kind.WHOLE:
                unit = " of bytes" if self.name.endswith("_bytes") else ""
                text = f"a whole number{unit} from {self.low} to {self.high}"
            case Kind.NUMBER:
                unit = "" if self.name.endswith(("_per_s", "_ratio")) else " of seconds"
                text = f"a number{unit} from {self.low} to {self.high}"
            case Kind.TEXT:
                text = f"{'a secret text' if self.secret else 'text'} of {self.low} to {self.high} characters"
            case Kind.PATH:
                text = "a path"
            case Kind.CHOICE:
                text = f"one of {', '.join(self.choices)}"
            case Kind.CHOICES:
                text = f"a list of one or more of {', '.join(self.choices)}"
            case Kind.NAMES:
                text = f"a list of at most {self.high} names"
            case _:
                assert_never(self.kind)
        return f"{text}, or null" if self.nullable else text

    def stand_in(self) -> object:
        """A value that passes the bounds, so that other settings can be judged while this one is wrong."""
        match self.kind:
            case Kind.WHOLE | Kind.NUMBER:
                return self.low
            case Kind.TEXT:
                return "x" * int(self.low or 1)
            case Kind.PATH:
                return "/"
            case Kind.CHOICE:
                return self.choices[0]
            case Kind.CHOICES:
                return [self.choices[0]]
            case Kind.NAMES:
                return []
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, slots=True)
class Section:
    """Settings under one key."""

    children: Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class Entries:
    """A list of sections of one shape."""

    entry: Section


Node = Leaf | Section | Entries


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Leaf]]:
    """Every setting under *node* with its dotted path; those of a list as `identity.jwt[].issuer`."""
    match node:
        case Leaf():
            yield path, node
        case Entries(entry):
            yield from leaves(entry, f"{path}[]")
        case Section(children):
            for name, child in children.items():
                yield from leaves(child, f"{path}.{name}" if path else name)
        case _:
            assert_never(node)


def steps(path: str) -> list[str]:
    """The names and list positions that *path* is made of."""
    return re.findall(r"[^.\[\]]+", path)


def find(path: str) -> Node | None:
    """What stands at *path*, as `identity.jwt[0].issuer`; None where there is no such setting or section."""
    node: Node = SCHEMA
    for step in steps(path):
        match node:
            case Section(children) if step in children:
                node = children[step]
            case Entries(entry) if step.isdigit():
                node = entry
            case _:
                return None
    return node


def values(settings: Settings) -> dict[str, object]:
    """Every value of *settings* by dotted path; a list of sections is one value."""

    def flatten(
        node: Node, value: Any, path: str
    ) -> Iterator[tuple[str, object]]:  # Any: the tree knows the types
        if not isinstance(node, Section):
            yield path, value
            return
        for name, child in node.children.items():
            below = value[Tier(name)] if isinstance(value, Mapping) else getattr(value, name)
            yield from flatten(child, below, f"{path}.{name}" if path else name)

    return dict(flatten(SCHEMA, settings, ""))


def _section(cls: type[Any]) -> Section:  # Any: one of the dataclasses of settings.py
    hints = get_type_hints(cls, include_extras=True)
    return Section(
        {each.name: _node(each.name, hints[each.name], not each.repr) for each in dataclasses.fields(cls)}
    )


def _node(name: str, hint: Any, secret: bool) -> Node:  # noqa: FBT001  # Any: a type hint is no type
    bounds: dict[str, float] = {}
    nullable = False
    while True:
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            hint = args[0]
            bounds = {
                key: value for each in args[1].metadata for key, value in dataclasses.asdict(each).items()
            }
        elif origin in {Union, UnionType}:
            nullable = True
            (hint,) = (each for each in args if each is not NoneType)
        else:
            break
    if dataclasses.is_dataclass(hint):
        return _section(hint)  # type: ignore[arg-type]  # a class, not an instance: it came from a hint
    if origin is dict:
        return Section({tier.value: _node(tier.value, args[1], secret) for tier in Tier})
    if origin is tuple and dataclasses.is_dataclass(args[0]):
        return Entries(_section(args[0]))  # type: ignore[arg-type]  # as above
    low = bounds.get("ge", bounds.get("min_length"))
    high = bounds.get("le", bounds.get("max_length"))
    if origin is tuple:
        choices = get_args(args[0])
        return Leaf(name, Kind.CHOICES if choices else Kind.NAMES, low, high, choices, nullable, secret)
    if origin is Literal:
        return Leaf(name, Kind.CHOICE, low, high, args, nullable, secret)
    return Leaf(name, _KINDS[hint], low, high, (), nullable, secret)


_KINDS = {int: Kind.WHOLE, float: Kind.NUMBER, str: Kind.TEXT, Path: Kind.PATH}
SCHEMA = _section(Settings)
