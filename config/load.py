"""Makes settings of what the operator wrote, or says everything that is wrong with it at once.

Order: defaults, the operator's YAML over them, overrides over both; then types
and bounds; then the rules between settings. A value that is wrong is replaced by
a stand-in for the next step only, so that one mistake does not hide another.
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from config.document import Document, parse, read_document
from config.errors import Mistake, SettingsInvalid
from config.issuers import issuers_can_be_believed
from config.layers import NUMBER, SHORT, Layer, Layers
from config.rules import RULES, Finding
from config.schema import SCHEMA, Entries, Kind, Leaf, Node, find, steps
from config.settings import Settings

DEFAULTS = Path(__file__).with_name("defaults.yaml")
NONE: Mapping[str, object] = MappingProxyType({})
_ADAPTER = TypeAdapter(Settings)


def load(
    path: Path | None, overrides: Mapping[str, object] = NONE, env: Mapping[str, str] = os.environ
) -> Settings:
    """The settings to run with.

    Args:
        path: The operator's YAML; its relative paths start in its folder. None when there is no file.
        overrides: Settings that win over the file, nested or by dotted name (`{"gateway.port": 8080}`). Taken
            literally, without `${…}`; their relative paths start in the current folder.
        env: Where `${env:NAME}` is looked up.

    Raises:
        SettingsInvalid: With every mistake that could be found.
    """
    document = Document({}) if path is None else read_document(path)
    here = Path.cwd()
    defaults, issuer = _defaults()
    layers = Layers(entry={"identity.jwt": issuer})
    layers.mistakes.extend(document.mistakes)
    layers.lay(Layer(defaults, folder=here))
    folder = here if path is None else here / path.parent
    layers.lay(Layer(document.values, folder=folder, env=env, lines=document.lines))
    layers.lay(Layer(_nested(overrides), folder=here))
    settings = _validated(layers)
    if settings is not None:
        _judge(settings, layers)
    if layers.mistakes or settings is None:
        raise SettingsInvalid(_unspoken(layers.mistakes, layers.secret))
    return settings


def broken_rules(settings: Settings) -> Iterator[Finding]:
    """The rules between settings that *settings* breaks."""
    for rule in (*RULES, issuers_can_be_believed):
        yield from rule(settings)


def _validated(layers: Layers) -> Settings | None:
    """The settings with stand-ins where they are wrong; None when even that does not hold."""
    document = _unflattened(layers.values)
    for path in sorted(layers.bad):
        _stand_in(document, path)
    for _ in range(2):
        try:
            return _ADAPTER.validate_json(json.dumps(document), strict=True, extra="forbid")
        except ValidationError as exc:
            wrong = {_path(error["loc"]) for error in exc.errors(include_url=False, include_input=False)}
        for path in wrong:
            node = find(path)
            if isinstance(node, Leaf) and not _is_bad(path, layers):
                value = _value(document, path)
                layers.blame(path, layers.show(path, node, value), _advice(path, node, value))
            layers.bad.add(path)
            _stand_in(document, path)
    return None


def _judge(settings: Settings, layers: Layers) -> None:
    """Blame what breaks a rule, where all that the rule read is sound."""
    document = _unflattened(layers.values)
    for finding in broken_rules(settings):
        node = find(finding.path)
        unsound = any(_is_bad(path, layers) for path in (finding.path, *finding.reads))
        if unsound or not isinstance(node, Leaf):
            continue
        shown = layers.show(finding.path, node, _value(document, finding.path))
        hidden = any(layers.sources.get(path) for path in finding.reads)
        write = "another value" if hidden else finding.write
        layers.mistakes.append(
            Mistake(finding.path, shown, f"write {write}: {finding.because}", layers.lines.get(finding.path))
        )


def _advice(path: str, leaf: Leaf, value: object) -> str:
    advice = f"write {leaf.wanted()}"
    if leaf.secret and "[" not in path:
        return f"{advice}, best as ${{env:TIERGATE_{path.replace('.', '_').upper()}}} or ${{file:/path}}"
    if leaf.kind in {Kind.WHOLE, Kind.NUMBER} and isinstance(value, str) and NUMBER.fullmatch(value):
        return f"{advice}, without quotes"
    return advice


def _is_bad(path: str, layers: Layers) -> bool:
    """Whether *path*, or a section that it is in, is known to be wrong."""
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in layers.bad)


def _unspoken(mistakes: list[Mistake], secret: set[str]) -> list[Mistake]:
    """The mistakes, without unknown names that hold a secret: a slip of the colon makes such keys."""

    def unspoken(mistake: Mistake) -> Mistake:
        if find(mistake.path) is None and any(len(each) > SHORT and each in mistake.path for each in secret):
            return replace(mistake, path="(a name that holds a secret)")
        return mistake

    return [unspoken(mistake) for mistake in mistakes]


def _path(loc: tuple[int | str, ...]) -> str:
    """The dotted path of the setting that pydantic's *loc* lies in."""
    node: Node | None = SCHEMA
    path = ""
    for step in loc:
        if isinstance(node, Leaf | None):
            break
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
        node = find(path)
    return path


def _unflattened(values: Mapping[str, object]) -> dict[str, Any]:  # Any: JSON
    document: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        below = document
        for section in sections:
            below = below.setdefault(section, {})
        below[name] = [dict(each) for each in value] if isinstance(find(path), Entries) else value  # type: ignore[attr-defined]
    return document


def _holder(document: dict[str, Any], path: str) -> tuple[Any, str]:  # Any: JSON
    *sections, name = steps(path)
    below: Any = document
    for step in sections:
        below = below[int(step) if isinstance(below, list) else step]
    return below, name


def _value(document: dict[str, Any], path: str) -> object:  # Any: JSON
    holder, name = _holder(document, path)
    value: object = holder.get(name)
    return value


def _stand_in(document: dict[str, Any], path: str) -> None:  # Any: JSON
    node = find(path)
    if isinstance(node, Leaf):
        holder, name = _holder(document, path)
        holder[name] = node.stand_in()


def _nested(overrides: Mapping[str, object]) -> dict[str, object]:
    """*overrides* with each dotted name taken apart."""
    result: dict[str, object] = {}
    for key, value in overrides.items():
        head, dot, rest = str(key).partition(".")
        addition = _nested({rest: value}) if dot else value
        known = result.get(head)
        result[head] = _joined(known, addition)
    return result


def _joined(known: object, addition: object) -> object:
    if not isinstance(known, Mapping) or not isinstance(addition, Mapping):
        return addition
    both = [key for key in addition if key in known]
    return {**known, **addition, **{key: _joined(known[key], addition[key]) for key in both}}


@functools.cache
def _defaults() -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The defaults, and what each issuer has when it does not say otherwise (the one entry of their list)."""
    text = DEFAULTS.read_text(encoding="utf-8")
    values: Any = parse(text, name=str(DEFAULTS)).values  # Any: ours, and tested
    (pattern,) = values["identity"]["jwt"]
    return {**values, "identity": {**values["identity"], "jwt": []}}, pattern
