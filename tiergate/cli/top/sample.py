"""One look at a gateway: everything that is asked of the admin API, as far as it answers."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiergate.cli.admin import Admin
from tiergate.cli.errors import AdminRefused
from tiergate.cli.listing import rows_of
from tiergate.cli.top.scrape import Scrape, read_scrape

Json = Mapping[str, Any]  # Any: JSON

_MOST_TENANTS = 500
_NOT_ADMITTED = frozenset({401, 403})
_ASKED: Mapping[str, Mapping[str, str | int]] = {
    "/gateways": {},
    "/busiest": {"limit": _MOST_TENANTS},
    "/moves": {"open": "true"},
    "/orders": {},
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What a gateway has told.

    Attributes:
        ready: Its `/readyz`.
        told: By path, what needs the registry; a path that was refused is missing.
        refused: Why, by path.
    """

    scrape: Scrape
    ready: Json
    told: Mapping[str, Json]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def at_s(self) -> float:
        """When it was taken, on the monotonic clock."""
        return self.scrape.at_s

    def rows(self, path: str, member: str) -> list[dict[str, Any]]:  # Any: JSON
        """The objects in a list that was told; none when it was refused."""
        return rows_of(dict(self.told.get(path, {})), member)


def take(api: Admin) -> Sample:
    """Look once. While the registry is down, what needs it is left out at once.

    Raises:
        AdminUnreachable: Nothing of tiergate's answers.
        AdminRefused: The key is not admitted.
    """
    at_s = time.monotonic()
    scrape = read_scrape(api.text("/metrics"), at_s)
    _, ready = api.send("GET", "/readyz")
    told: dict[str, Json] = {}
    refused: dict[str, str] = {}
    for path, query in _ASKED.items():
        if "registry-unavailable" in refused.values():
            refused[path] = "registry-unavailable"
            continue
        try:
            told[path] = api.ask("GET", path, query=query)
        except AdminRefused as error:
            if error.status in _NOT_ADMITTED:
                raise
            refused[path] = error.said
    return Sample(scrape, ready, told, refused)
