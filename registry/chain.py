"""The audit as a chain: each entry carries a code over itself and over the one before it.

The key is derived from the master key and is not in the registry's Postgres. So
whoever rules that server can still damage the audit, but not without breaking
the chain; only its newest entries can be taken away unseen, and that shows to
whoever remembers a later head.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from registry.records import Entry

GENESIS = bytes(32)
"""What stands before the first entry."""

_NEAR = 1000
"""How far from its place an entry is looked for when it does not fit there."""


@dataclass(frozen=True, slots=True)
class Head:
    """An entry by its number and its code: whoever knows it can tell that all up to it are as they were."""

    id: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.id}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True)
class Chained:
    """An entry as it lies in the registry.

    Attributes:
        at: RFC 3339 in UTC with six decimals; text, so that a year unknown to Python is a change, no crash.
        previous: Code of the entry before it.
    """

    id: int
    at: str
    entry: Entry
    previous: bytes
    digest: bytes


class Damage(StrEnum):
    """What became of an entry."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    REPLACED = "replaced"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where the chain does not hold.

    Attributes:
        id: Number of the entry that is not, or not as it was.
        why: A sentence.
    """

    id: int
    damage: Damage
    why: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the audit's chain has found.

    Attributes:
        last: The newest entry up to which everything is as it was written; number 0 when there is none.
        broken: What is wrong after it, if anything.
    """

    last: Head
    broken: Broken | None


def head(text: str) -> Head | None:
    """*text* as a head, `NUMBER:HEX`; None when it is none."""
    number, _, code = text.partition(":")
    try:
        found = Head(int(number), bytes.fromhex(code))
    except ValueError:
        return None
    return found if found.id > 0 and len(found.digest) == len(GENESIS) else None


def code_of(key: bytes, number: int, at: str, entry: Entry, previous: bytes) -> bytes:
    """The code of an entry: HMAC-SHA256 over the previous code and the entry's fields as one JSON array.

    Raises:
        ValueError: The detail holds a fraction, which the server may spell in another way than we do.
    """
    said = [number, at, entry.actor, entry.act, entry.subject, entry.outcome, dict(entry.detail)]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    return hmac.digest(key, previous + text.encode(), "sha256")


@dataclass(slots=True)
class Walk:
    """Goes along the chain from its beginning.

    Attributes:
        remembered: Heads known from elsewhere; each must be found again.
        last: The newest entry that holds.
    """

    key: bytes = field(repr=False)
    remembered: tuple[Head, ...] = ()
    last: Head = Head(0, GENESIS)

    def step(self, found: Chained) -> Broken | None:
        """Look at the next entry, by number; what is wrong with it, if anything."""
        broken = self._misnumbered(found) or self._altered(found) or self._misplaced(found)
        if broken is None:
            self.last = Head(found.id, found.digest)
        return broken

    def _misnumbered(self, found: Chained) -> Broken | None:
        number = self.last.id + 1
        if found.id > number:
            return Broken(number, Damage.MISSING, f"entry {number} is missing; the next is {found.id}")
        if found.id < number:
            return Broken(found.id, Damage.CHANGED, f"there is more than one entry {found.id}")
        return None

    def _altered(self, found: Chained) -> Broken | None:
        number = found.id
        if self._fits(found, number):
            return None
        if (written := self._written_as(found)) is not None:
            why = f"what stands as entry {number} was written as entry {written}"
            return Broken(number, Damage.REORDERED, why)
        why = f"entry {number} was changed, or was not written by a gateway"
        return Broken(number, Damage.CHANGED, why)

    def _misplaced(self, found: Chained) -> Broken | None:
        number = found.id
        if found.previous != self.last.digest:
            why = f"entry {number} was written after another entry {number - 1} than the one that is there"
            return Broken(max(1, number - 1), Damage.REPLACED, why)
        if any(known.id == number and known.digest != found.digest for known in self.remembered):
            return Broken(number, Damage.REPLACED, f"entry {number} is not the one that is remembered")
        return None

    def end(self) -> Broken | None:
        """What is missing after the last entry, as far as later ones are remembered."""
        latest = max((known.id for known in self.remembered), default=0)
        if latest <= self.last.id:
            return None
        number = self.last.id + 1
        return Broken(number, Damage.CUT, f"entry {latest} is remembered, but from {number} on there is none")

    def _fits(self, found: Chained, number: int) -> bool:
        try:
            code = code_of(self.key, number, found.at, found.entry, found.previous)
        except (ValueError, RecursionError):
            return False
        return hmac.compare_digest(code, found.digest)

    def _written_as(self, found: Chained) -> int | None:
        near = range(max(1, found.id - _NEAR), found.id + _NEAR + 1)
        return next((number for number in near if self._fits(found, number)), None)


def detail(text: str) -> Mapping[str, object]:
    """An entry's detail from JSON; of what no gateway writes, something that fits no code."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"": text}


def _refuse(number: str) -> NoReturn:
    msg = f"an entry's detail holds whole numbers only, not {number}"
    raise ValueError(msg)
