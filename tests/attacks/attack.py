"""What attackers send, as data: `data/*.txt`, one file for each class of attack.

A line that is not indented names an attack; options follow in brackets. Each indented line is a
request, and a line that begins with a plus sign runs in the transaction of the line before it.
Words in braces are filled in by the arm: {victim}, {mark}, {schema}; unknown ones are left alone.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from tiergate.tenant import Tier

_DATA = Path(__file__).parent / "data"
_WRITES = re.compile(r"INSERT|UPDATE|DELETE|MERGE")
_HEAD = re.compile(r"(?P<name>[^\[]+?)(?: \[(?P<options>.+)\])?")


class Sign(StrEnum):
    """What shows that an attack has succeeded, besides a name or value of others' in the answer.

    Whatever the sign, the victim is looked at after each attack, and so is the database.
    """

    SECRET = "secret"
    """Nothing besides."""
    ANSWER = "answer"
    """Any answer but null and zero: it tells of the server or of others by itself."""
    SENT = "sent"
    """Any answer: that it was done is the damage."""
    GUESS = "guess"
    """A right guess is answered otherwise than a wrong one."""
    CHANGE = "change"
    """The same question is answered otherwise once others have changed something."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        family: The class of attacks that it belongs to.
        requests: Each a transaction of one or several statements, sent one after the other.
        is_held: The victim asks while the attack still runs.
        is_residual: Known to tell names where the database alone stands: docs/explanation/isolation.md.
    """

    family: str
    name: str
    requests: tuple[tuple[str, ...], ...]
    tiers: frozenset[Tier]
    sign: Sign
    is_held: bool
    is_residual: bool

    @property
    def writes(self) -> bool:
        """Whether it may change rows of the attacker's own."""
        return _WRITES.search(str(self.requests)) is not None

    @property
    def id(self) -> str:
        """Its name in reports."""
        return f"{self.family}: {self.name}"


@cache
def attacks(tier: Tier, *, by_login: bool = False) -> tuple[Attack, ...]:
    """The attacks that are for *tier*; those of a direct login only when asked for."""
    files = [path for path in sorted(_DATA.glob("*.txt")) if by_login or path.stem != "login"]
    return tuple(attack for path in files for attack in _read(path) if tier in attack.tiers)


@cache
def winners(tier: Tier) -> tuple[str, ...]:
    """The attacks that are known to succeed against tables as they are usually made."""
    return tuple((_DATA / f"{tier}.wins").read_text(encoding="utf-8").splitlines())


def _read(path: Path) -> list[Attack]:
    found: list[tuple[str, list[list[str]]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            found.append((line, []))
        elif line.startswith("  + "):
            found[-1][1][-1].append(line[4:])
        else:
            found[-1][1].append([line.strip()])
    return [_attack(path.stem, head, requests) for head, requests in found]


def _attack(family: str, head: str, requests: list[list[str]]) -> Attack:
    part = _HEAD.fullmatch(head)
    assert part is not None, head
    options = set((part["options"] or "").split(", ")) - {""}
    tiers = frozenset(Tier(option) for option in options if option in {*Tier})
    signs = [Sign(option) for option in options if option in {*Sign}]
    assert options <= {*Tier, *Sign, "held", "residual"}, head
    return Attack(
        family, part["name"], tuple(map(tuple, requests)), tiers or frozenset(Tier),
        signs[0] if signs else Sign.SECRET, "held" in options, "residual" in options,
    )  # fmt: skip
