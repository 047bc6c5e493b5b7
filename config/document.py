"""Reads YAML into plain values and remembers the line of each.

A narrower YAML than PyYAML's: the scalars of YAML 1.2's core schema (`yes` and
`1:30` are text), keys are text and never repeat, and anchors, aliases and tags
are refused, so that no document is larger than it looks.

Messages quote keys, never values: any value may turn out to be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from config.errors import Mistake, SettingsInvalid
from config.files import FileUnusable, read_text

MAX_BYTES = 65_536
"""A real file has a few kilobytes. PyYAML needs 3 s for this many at worst, a list of short items."""
_MAX_DEPTH = 16
_MAX_DIGITS = 20
_QUOTE = "put a value that begins with & * ! % @ ` or holds ': ' or ' #' into quotes"
_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)


class _Loader(yaml.SafeLoader):
    """Composes nodes; building values from them is `_Builder`'s work."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - shape is PyYAML's
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node, unless it is of a kind that is refused here."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="an anchor or alias (& or *)", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="a tag (!)", problem_mark=event.start_mark)
        if self.depth == _MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {_MAX_DEPTH} levels", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# Source: YAML 1.2.2, 10.3.2 "Tag Resolution", without octal, hexadecimal, infinity and not-a-number.
for _tag, _pattern, _first in (
    (_NULL, r"null|Null|NULL|~|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+", list("-+0123456789")),
    (_FLOAT, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file, read.

    Attributes:
        lines: Line, from 1, of each key and list item by its dotted path, as `identity.jwt[0].issuer`.
        mistakes: Repeated and impossible keys; the values of the others are still there.
    """

    values: Mapping[str, object]
    lines: Mapping[str, int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()


def read_document(path: Path) -> Document:
    """The YAML file at *path*.

    Raises:
        SettingsInvalid: The file cannot be read, or is no YAML mapping.
    """
    try:
        return parse(read_text(path, max_bytes=MAX_BYTES), name=str(path))
    except FileUnusable as exc:
        instead = "name a readable YAML file (tiergate.yaml)"
        raise SettingsInvalid([Mistake(str(path), exc.reason, instead)]) from None


def parse(text: str, *, name: str) -> Document:
    """The document that *text* holds; an empty one says nothing.

    Raises:
        SettingsInvalid: It is no YAML mapping; the mistake's path is *name*.
    """
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as exc:
        raise SettingsInvalid([_broken(name, exc)]) from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise SettingsInvalid([Mistake(name, "a control character", "remove it", line)]) from None
    if node is None or node.tag == _NULL:
        return Document({})
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        instead = "write sections with settings in them, as `gateway:` and below it `  port: 8080`"
        raise SettingsInvalid([Mistake(name, found, instead, node.start_mark.line + 1)])
    builder = _Builder()
    return Document(builder.mapping(node, ""), builder.lines, tuple(builder.mistakes))


def key_text(key: str) -> str:
    """*key* as it may stand in a path: as it is when it is a plain word, else quoted and cut."""
    return key if re.fullmatch(r"[\w-]{1,64}", key, re.ASCII) else f"{key[:64]!a}"


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _broken(name: str, exc: yaml.MarkedYAMLError) -> Mistake:
    """The mistake behind a syntax error; what PyYAML quotes from the file is left out."""
    problem = re.split(r",? but found|['\"]", exc.problem or "something unreadable")[0].strip(" ,")
    mark = exc.problem_mark or exc.context_mark
    column = "" if mark is None else f" at column {mark.column + 1}"
    line = None if mark is None else mark.line + 1
    return Mistake(name, f"what is not YAML as used here{column}: {problem}", _QUOTE, line)


@dataclass(slots=True)
class _Builder:
    """Builds values from nodes; collects lines and mistakes on the way."""

    lines: dict[str, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def mapping(self, node: yaml.MappingNode, path: str) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != _STR:
                self.mistakes.append(
                    Mistake(path or "(top)", "a key that is no word", "write a setting's name", line)
                )
                continue
            key = str(key_node.value)
            below = f"{path}.{key_text(key)}" if path else key_text(key)
            if key in values:
                first = self.lines[below]
                instead = f"keep one: it stands in line {first} already"
                self.mistakes.append(Mistake(below, "the same key again", instead, line))
                continue
            self.lines[below] = line
            values[key] = self.value(value_node, below)
        return values

    def value(self, node: yaml.Node, path: str) -> object:
        match node:
            case yaml.MappingNode():
                return self.mapping(node, path)
            case yaml.SequenceNode():
                return [self.item(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            case _:
                return _scalar(node.tag, str(node.value))

    def item(self, node: yaml.Node, path: str) -> object:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)


def _scalar(tag: str, text: str) -> object:
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() == "true"
    if tag == _INT and len(text) <= _MAX_DIGITS:
        return int(text)
    # An endless row of digits is a float here: out of every bound, and cheap to read and to show.
    return float(text) if tag in {_INT, _FLOAT} else text
