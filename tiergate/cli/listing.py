"""Lists that the admin API hands out page by page."""

from dataclasses import dataclass

from tiergate.cli.admin import Admin
from tiergate.cli.output import say


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        answer: As the API gave it, for --json.
        next: What to go on after; None when the list is at its end.
    """

    answer: dict[str, object]
    rows: list[dict[str, object]]
    next: str | None

    def say_more(self) -> None:
        """Say how to see the rest, when there is one."""
        if self.next is not None:
            say(f"There are more: --after {self.next}")


def rows_of(answer: dict[str, object], member: str) -> list[dict[str, object]]:
    """The objects in the list that *member* of *answer* is; none when it is no list."""
    found = answer.get(member)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def list_all(
    api: Admin, path: str, member: str, *, limit: int, after: str = "", query: dict[str, str] | None = None
) -> Page:
    """One page of the list at *path*, whose rows are in *member*."""
    answer = api.ask(
        "GET", path, query={"limit": limit, **({"after": after} if after else {}), **(query or {})}
    )
    further = answer.get("next")
    return Page(answer, rows_of(answer, member), further if isinstance(further, str) else None)
