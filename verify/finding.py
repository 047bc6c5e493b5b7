"""What a check found, as values."""

from collections.abc import Iterable
from dataclasses import dataclass

from registry.placement import PlaceId
from tiergate.tenant import Tier
from verify.checks import Weight, checks


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake.

    Attributes:
        what: The table, role or other object that it is about.
        detail: What is wrong with it.
    """

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Where:
    """What was looked at.

    Attributes:
        database: None where it is about the whole server.
        place: None where it is about the whole database or server.
    """

    cluster: str
    tier: Tier
    database: str | None = None
    place: PlaceId | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """One check at one place, and what it found.

    Attributes:
        code: The check's, or `escape`.
        name: The escape's.
    """

    code: str
    where: Where
    weight: Weight
    findings: tuple[Finding, ...]
    advice: str
    name: str | None = None

    @property
    def is_failed(self) -> bool:
        """Whether it is a mistake, more than a warning."""
        return bool(self.findings) and self.weight is Weight.FAILED


def checked(code: str, where: Where, findings: Iterable[Finding], *, name: str | None = None) -> Checked:
    """What the check of that code found."""
    check = checks()[code]
    return Checked(code, where, check.weight, tuple(findings), check.advice, name)
