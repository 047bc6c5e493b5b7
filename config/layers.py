"""Lays one source of settings over another: defaults, the operator's YAML, the command line.

Each layer is held against the tree of settings first. What has no place there
is a mistake; what has one is kept by its dotted path, references followed and
relative paths made absolute.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import assert_never
from urllib.parse import unquote

from config.document import key_text
from config.errors import Mistake
from config.schema import SCHEMA, Entries, Kind, Leaf, Node, Section, leaves
from config.secrets import resolve

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII)
_MAX_ENTRIES = 100
_NAME_LENGTH = 60
_JSON_BITS = 64
_SHOWN = 15
"""A text as long as a secret may be is not shown, unless as a path: it may be one in the wrong place."""
_WORDS = ((str, "a text"), (Mapping, "a mapping"))
SHORT = 3
"""A secret of so few characters is not looked for in messages: it would be found everywhere."""


@dataclass(slots=True)
class Layer:
    """One source of settings.

    Attributes:
        folder: Where its relative paths start.
        env: Where `${env:…}` is looked up; None when references are not followed in this layer.
        lines: Line of each path, where the layer is a file.
    """

    found: Mapping[str, object]
    folder: Path
    env: Mapping[str, str] | None = None
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Layers:
    """What all layers say together, and what is wrong with it.

    Attributes:
        entry: What an entry of a list has when it does not say otherwise, by the list's path.
        values: The last word on each setting, by path; a list of sections is one list of mappings.
        lines: Where that word stands, if it stands in a file.
        sources: The references a value was made of; such a value is never shown.
        bad: Paths whose value is already known to be wrong.
        secret: Texts that must not appear in any message.
    """

    entry: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    secret: set[str] = field(default_factory=set)
    mistakes: list[Mistake] = field(default_factory=list)

    def lay(self, layer: Layer) -> None:
        """Put *layer* on top."""
        self._section(SCHEMA, layer.found, "", layer)

    def blame(self, path: str, found: str, instead: str, line: int | None = None) -> None:
        """Note a mistake about *path*; the value there counts as wrong from now on."""
        self.bad.add(path)
        self.mistakes.append(Mistake(path, found, instead, line or self.lines.get(path)))

    def show(self, path: str, leaf: Leaf, value: object) -> str:
        """*value* of *path* as a message may show it."""
        if sources := self.sources.get(path):
            return f"a value from {', '.join(sources)}"
        if not isinstance(value, str):
            return _shown(value)
        if leaf.secret:
            return f"a secret of {len(value)} characters"
        if any(len(each) > SHORT and each in value for each in self.secret):
            return "a text that holds a secret"
        if len(value) > _SHOWN and leaf.kind is not Kind.PATH:
            return f"a text of {len(value)} characters"
        return json.dumps(value, ensure_ascii=True)

    def _node(self, node: Node, found: object, path: str, layer: Layer) -> None:
        match node:
            case Section():
                self._section(node, found, path, layer)
            case Entries():
                self._entries(node, found, path, layer)
            case Leaf():
                self.values[path] = self._leaf(node, found, path, layer)
            case _:
                assert_never(node)

    def _section(self, section: Section, found: object, path: str, layer: Layer) -> None:
        if found is None:  # a heading with everything below it commented out says nothing
            return
        if not isinstance(found, Mapping):
            instead = f"write settings below it: {', '.join(section.children)}"
            self.blame(path, _shown(found), instead, layer.lines.get(path))
            return
        for key, value in found.items():
            child = section.children.get(key) if isinstance(key, str) else None
            name = key_text(key) if isinstance(key, str) else "(no word)"
            below = f"{path}.{name}" if path else name
            if child is None:
                instead = _nearest(section, str(key), path)
                self.mistakes.append(Mistake(below, "an unknown setting", instead, layer.lines.get(below)))
            else:
                self._node(child, value, below, layer)

    def _entries(self, entries: Entries, found: object, path: str, layer: Layer) -> None:
        items = () if found is None else found
        if not isinstance(items, list | tuple) or len(items) > _MAX_ENTRIES:
            instead = f"write a list of at most {_MAX_ENTRIES} entries, each beginning with `- `"
            self.blame(path, _shown(items), instead, layer.lines.get(path))
            return
        for known in (self.lines, self.sources):
            for each in [each for each in known if each.startswith(f"{path}[")]:
                del known[each]
        self.bad -= {each for each in self.bad if each == path or each.startswith(f"{path}[")}
        result = []
        for index, item in enumerate(items):
            at = f"{path}[{index}]"
            one = Layers(entry=self.entry, secret=self.secret, mistakes=self.mistakes, bad=self.bad)
            one._section(entries.entry, item if item is not None else {}, at, layer)
            self.lines |= one.lines
            self.sources |= one.sources
            said = {below.removeprefix(f"{at}."): value for below, value in one.values.items()}
            result.append({**self.entry[path], **said})
        self.values[path] = result

    def _leaf(self, leaf: Leaf, found: object, path: str, layer: Layer) -> object:
        """The value to validate: plain, resolved, absolute; wrong kinds are left to validation."""
        self.sources.pop(path, None)
        self.lines.pop(path, None)
        self.bad.discard(path)
        if path in layer.lines:
            self.lines[path] = layer.lines[path]
        value = _plain(found)
        if isinstance(value, str) and layer.env is not None:
            value = self._resolved(leaf, value, path, layer.env, layer.folder)
        elif isinstance(value, list) and layer.env is not None:
            env, folder = layer.env, layer.folder
            value = [
                self._resolved(leaf, each, path, env, folder) if isinstance(each, str) else {}
                for each in value
            ]
        if isinstance(value, str) and leaf.secret:
            self.secret.update(_secrets_in(value))
        if isinstance(value, str) and leaf.kind is Kind.PATH:
            value = os.path.normpath(layer.folder / value) if value else None
        if any(
            _UNPRINTABLE.search(each)
            for each in (value if isinstance(value, list) else [value])
            if isinstance(each, str)
        ):
            self.blame(path, "a text with a line break or another control character", "write it without")
        return value

    def _resolved(self, leaf: Leaf, text: str, path: str, env: Mapping[str, str], folder: Path) -> object:
        resolved = resolve(text, env=env, folder=folder)
        for found, instead in resolved.problems:
            self.blame(path, found, instead)
        self.sources[path] = (*self.sources.get(path, ()), *resolved.sources)
        self.secret.update(resolved.brought)
        value = resolved.text
        if value is None:
            return text
        if resolved.sources and leaf.kind in {Kind.WHOLE, Kind.NUMBER} and NUMBER.fullmatch(value):
            number = float(value)
            return int(number) if leaf.kind is Kind.WHOLE and number.is_integer() else number
        return value


def _secrets_in(text: str) -> set[str]:
    """*text*, and the password in it when it is a URL."""
    password = re.search(r"://[^/@]*?:([^@]*)@", text)
    return {text} if password is None else {text, password[1], unquote(password[1])}


def _plain(value: object) -> object:
    """*value* as JSON could say it: no number too large, no nesting beyond a list of scalars."""
    match value:
        case None | bool() | float():
            return value
        case Enum() | os.PathLike():
            return str(value.value if isinstance(value, Enum) else os.fspath(value))
        case str():
            return str(value)
        case int():
            return value if value.bit_length() < _JSON_BITS else math.inf * (1 if value > 0 else -1)
        case list() | tuple():
            return [each if isinstance(each, str) else {} for each in value[: _MAX_ENTRIES + 1]]
        case _:
            return {}


def _shown(value: object) -> str:
    """*value* as a message may show it, whatever setting it is for: no text, nothing of what a list holds."""
    match value:
        case None:
            return "nothing"
        case bool() | int() | float():
            return json.dumps(_plain(value))
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return next((words for kind, words in _WORDS if isinstance(value, kind)), "something else")


def _nearest(section: Section, key: str, path: str) -> str:
    """What to write instead of the unknown *key* of *section*."""
    if elsewhere := [each for each, leaf in leaves(SCHEMA) if leaf.name == key]:
        return f"write it as {' or '.join(elsewhere[:3])}, if that is meant"
    if near := difflib.get_close_matches(key[:_NAME_LENGTH], section.children, n=1):
        return f"write {near[0]}, if that is meant"
    return f"remove it; {path or 'the top level'} has {', '.join(section.children)}"
