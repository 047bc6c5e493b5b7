"""What can be wrong with a configuration, told in the operator's words."""

from collections.abc import Iterable
from dataclasses import dataclass

from tiergate.errors import TiergateError


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing in the configuration that cannot stand.

    Attributes:
        path: The setting, as `pools.tiers.standard.max_waiting`; a file's name where a whole file is meant.
        found: What stands there now. Never the value of a secret, nor one that a `${…}` brought in.
        instead: What to write, beginning with a verb.
        line: Line in the operator's YAML, from 1; None where no line can be blamed.
    """

    path: str
    found: str
    instead: str
    line: int | None = None

    def __str__(self) -> str:
        """The mistake in one line."""
        where = self.path if self.line is None else f"{self.path} (line {self.line})"
        return f"{where}: found {self.found}; {self.instead}"


class SettingsInvalid(TiergateError):
    """The configuration cannot be used; every mistake in it is listed."""

    code = "settings-invalid"
    advice = "Correct every setting that is named, then run `tiergate check`."

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(
            sorted(set(mistakes), key=lambda mistake: (mistake.line or 0, mistake.path, mistake.instead))
        )
        count = len(self.mistakes)
        heading = f"the configuration has {count} mistake{'' if count == 1 else 's'}"
        super().__init__("\n".join([heading, *(f"  {mistake}" for mistake in self.mistakes)]))
