"""Statements as libraries and people write them, for measuring what the guard lets through."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
_SINCE = re.compile(r"-- since (\d+)\n")


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A statement of `ordinary.sql`, and the first major version that takes it."""

    text: str
    since: int


def recorded(name: str) -> list[str]:
    """What a library sent while its acceptance tests ran: `drizzle` or `prisma`."""
    texts: list[str] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return texts


def ordinary() -> Iterator[Ordinary]:
    """The statements of `ordinary.sql`."""
    for paragraph in (_FOLDER / "ordinary.sql").read_text(encoding="utf-8").split("\n\n")[1:]:
        since = _SINCE.match(paragraph)
        yield Ordinary(_SINCE.sub("", paragraph).strip(), int(since[1]) if since else 0)
