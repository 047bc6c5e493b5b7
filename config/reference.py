"""Writes the reference of settings, docs/reference/settings.md, from `defaults.yaml`.

Run as `python -m config.reference`; the page goes to standard output.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from config.document import parse
from config.load import DEFAULTS
from config.schema import Leaf, find, steps

_LIST_ITEM = re.compile(r"\[\d+\]")
_HEAD = """# Settings

<!-- Made from config/defaults.yaml by `python -m config.reference`; change it there. -->

What differs from the defaults goes into a YAML file, usually `tiergate.yaml`, with the sections
below as its keys (`gateway.port` is `port` under `gateway`). `tiergate check` lists every mistake in it.

- A setting without a default is required.
- `${env:NAME}` stands for an environment variable, `${file:/path}` for the content of a file without its
  last newline, alone or within a text; `$${` is a plain `${`. No message about a mistake shows what came so.
- Relative paths start in the folder of the YAML file.
- Settings marked *reload* change on SIGHUP or `tiergate reload`; those marked *restart* at the next start.
- The YAML is YAML 1.2 without anchors, aliases and tags. A key that stands twice or is unknown is a mistake.
- Times are in seconds.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What `defaults.yaml` says of one setting or section.

    Attributes:
        path: Dotted; the fields of a list's entries as `identity.jwt[].issuer`.
        text: What it is, one paragraph.
        facts: What may be written and when it takes effect; empty for a section.
        default: As YAML; None for a section.
    """

    path: str
    text: str
    facts: str
    default: str | None


def entries() -> Iterator[Entry]:
    """Every section and setting, in the order of `defaults.yaml`."""
    text = DEFAULTS.read_text(encoding="utf-8")
    document = parse(text, name=str(DEFAULTS))
    rows = text.splitlines()
    for path, line in document.lines.items():
        node = find(path)
        if path.endswith("]") or node is None:
            continue
        comment = _comment_above(rows, line)
        shown = _LIST_ITEM.sub("[]", path)
        if isinstance(node, Leaf):
            yield Entry(
                shown, " ".join(comment[:-1]), comment[-1] if comment else "", _default(document.values, path)
            )
        else:
            yield Entry(shown, " ".join(comment), "", None)


def marks() -> dict[str, str]:
    """The word "reload" or "restart" for each setting; a list of sections has the mark of its fields."""
    found = {}
    for entry in entries():
        if entry.default is not None:
            found[entry.path.partition("[")[0]] = entry.facts.rpartition("(")[2].rstrip(")")
    return found


def page() -> str:
    """The whole reference, as Markdown."""
    parts = [_HEAD]
    for entry in entries():
        if entry.default is None:
            level = "##" + "#" * entry.path.count(".")
            parts.append(f"{level} `{entry.path}`\n\n{entry.text}\n")
        else:
            required = entry.default == "null" and "or null" not in entry.facts
            default = "required" if required else f"default `{entry.default}`"
            facts, _, mark = entry.facts.rpartition(" (")
            parts.append(f"- **`{entry.path}`**: {facts}; {default}; *{mark.rstrip(')')}*.\n  {entry.text}\n")
    return "\n".join(parts)


def _comment_above(rows: list[str], line: int) -> list[str]:
    above: list[str] = []
    for row in reversed(rows[: line - 1]):
        if not row.lstrip().startswith("#"):
            break
        above.insert(0, row.lstrip().removeprefix("#").strip())
    return above


def _default(values: object, path: str) -> str:
    found: Any = values  # Any: JSON
    for step in steps(path):
        found = found[int(step) if isinstance(found, list) else step]
    return yaml.safe_dump(found).removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    sys.stdout.write(page())
