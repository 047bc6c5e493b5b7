"""How the processes of one gateway tell each other of tenants that somebody asks for.

Whoever is asked for a tenant leaves a file of its name beside the metrics that processes share. Each process
looks there every second, and writes what it knows of those tenants into a file of its own; it writes one when
there are none, too, so that others know whose word they have to wait for. What a process has written counts
on when it has ended.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time

import orjson

from observe.tenant_sums import Sums

WANTED_S = 900.0
"""For how long a tenant is told of that nobody asks for again."""
MOST_WANTED = 200
"""How many tenants are told of at a time, those first that were asked for last."""

_LIVES_S = 5.0
_WANTED, _TOLD = ".wanted", ".tenants"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one process has written.

    Attributes:
        lives: Whether it did so a moment ago.
    """

    sums: Mapping[str, Sums]
    lives: bool


@dataclass(frozen=True, slots=True)
class TenantFiles:
    """The files in *folder*."""

    folder: Path

    def want(self, tenant: str, place: str) -> None:
        """Have all processes tell of *tenant*, which lives at *place*."""
        self._put(f"{tenant}{_WANTED}", place.encode())

    def wanted(self, since_s: float) -> dict[str, tuple[str, float]]:
        """By name, the place of each who was asked for since then, and when that was."""
        found: dict[str, tuple[str, float]] = {}
        for path in self.folder.glob(f"*{_WANTED}"):
            try:
                asked_s = path.stat().st_mtime
                if asked_s < since_s:
                    path.unlink(missing_ok=True)
                else:
                    found[path.stem] = (path.read_text(encoding="utf-8"), asked_s)
            except FileNotFoundError:
                continue  # another process has removed it
        latest = sorted(found.items(), key=lambda each: each[1][1], reverse=True)
        return dict(latest[:MOST_WANTED])

    def write(self, sums: Mapping[str, Sums]) -> None:
        """Tell what this process knows."""
        told = {tenant: each.told() for tenant, each in sums.items()}
        self._put(f"{os.getpid()}{_TOLD}", orjson.dumps(told))

    def read(self) -> list[Heard]:
        """What every process has told."""
        found = []
        for path in self.folder.glob(f"*{_TOLD}"):
            lives = path.stat().st_mtime > time() - _LIVES_S
            told = orjson.loads(path.read_bytes())
            found.append(Heard({tenant: Sums.read(each) for tenant, each in told.items()}, lives))
        return found

    def _put(self, name: str, content: bytes) -> None:
        """At once, so that nobody reads a half."""
        fresh = self.folder / f"{name}.{os.getpid()}.new"
        fresh.write_bytes(content)
        fresh.replace(self.folder / name)
