"""Puts in what `${env:NAME}` and `${file:/path}` stand for.

What comes in that way counts as secret from then on, whichever setting it is
for. `$${` is a plain `${`. What was put in is not searched again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.files import FileUnusable, read_text

MAX_BYTES = 65_536
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(env|file):([^{}\x00-\x1f\x7f\ud800-\udfff]+)\})?")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A text with its references replaced.

    Attributes:
        text: The result; None when a reference cannot be followed.
        sources: The references, as written.
        brought: What they stand for, never to be shown.
        problems: Pairs of what was found and what to do instead; they name variables and files, no values.
    """

    text: str | None
    sources: tuple[str, ...] = ()
    brought: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


def resolve(text: str, *, env: Mapping[str, str], folder: Path) -> Resolved:
    """Replace every reference in *text*; relative files are looked for in *folder*.

    A file's content loses one newline at its end, if it has one.
    """
    sources: list[str] = []
    brought: list[str] = []
    problems: list[tuple[str, str]] = []

    def follow(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        try:
            value = _value(match[1], match[2], env, folder)
        except _Unresolved as exc:
            problems.append((exc.found, exc.instead))
            return ""
        sources.append(match[0])
        brought.append(value)
        return value

    result = _REFERENCE.sub(follow, text)
    return Resolved(None if problems else result, tuple(sources), tuple(brought), tuple(problems))


class _Unresolved(Exception):
    def __init__(self, found: str, instead: str) -> None:
        super().__init__(found)
        self.found = found
        self.instead = instead


def _value(kind: str | None, name: str, env: Mapping[str, str], folder: Path) -> str:
    if kind == "env":
        if name not in env:
            raise _Unresolved(f"${{env:{name}}}, which is not set", f"set the environment variable {name}")
        return env[name]
    if kind == "file":
        try:
            text = read_text(folder / name, max_bytes=MAX_BYTES)
        except FileUnusable as exc:
            instead = f"make {folder / name} a readable text file of at most {MAX_BYTES} bytes"
            raise _Unresolved(f"${{file:{name}}}, {exc.reason}", instead) from None
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    instead = "write ${env:NAME} or ${file:/path}, or $${ for a plain ${"
    raise _Unresolved("a ${ that begins no reference", instead)
