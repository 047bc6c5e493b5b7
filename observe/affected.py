"""How many tenants met each error lately: in all processes, without remembering a tenant.

Each process counts in slices of a minute, and writes what it has down beside the metrics that processes
share; each puts together what all have written, a few errors at a time, so that nobody waits for it.
"""

import base64
import os
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson

from observe.book import Book
from observe.distinct import Distinct
from observe.processes import shared_folder
from tiergate.tenant import Tier

LATELY_S = 300
"""Who met an error so long ago at most counts; up to a minute longer."""

_SLICE_S = 60
_AT_ONCE = 3
_FILE = "affected-{}.sketches"

Key = tuple[str, str]


class _Window:
    """One error of one tier, slice by slice; what came before the current one is put together once."""

    __slots__ = ("_before", "_now", "_slices")

    def __init__(self) -> None:
        self._slices: dict[int, Distinct] = {}
        self._before = Distinct()
        self._now = -1

    def add(self, name: str, now: int) -> None:
        self._turn(now)
        self._slices.setdefault(now, Distinct()).add(name)

    def whole(self, now: int) -> Distinct | None:
        """All of it; None when nothing is left."""
        self._turn(now)
        if not self._slices:
            return None
        found = Distinct(self._before.ranks)
        if (current := self._slices.get(now)) is not None:
            found.merge(current)
        return found

    def _turn(self, now: int) -> None:
        if now == self._now:
            return
        self._now = now
        oldest = now - LATELY_S // _SLICE_S
        self._slices = {at: each for at, each in self._slices.items() if at >= oldest}
        self._before = Distinct()
        for each in self._slices.values():
            self._before.merge(each)


class Affected:
    """Folds requests that failed."""

    def __init__(self, book: Book, outcomes: Iterable[str], *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._windows: dict[Key, _Window] = {}
        self._others: dict[Key, list[Distinct]] = {}
        self._waiting: list[Key] = []
        self._shown: set[Key] = set()
        self._is_written = False
        self._gauge = book.gauge(
            "tiergate_tenants_affected",
            "Different tenants that met an error in the last five minutes, about.",
            ["tier", "outcome"],
            over="mostrecent",
        )
        self._known = {(tier, outcome) for tier in Tier for outcome in outcomes if outcome != "ok"}
        for key in self._known:
            self._gauge.labels(*key)

    def add(self, tenant: str, tier: Tier, outcome: str) -> None:
        """*tenant* met an error; of outcomes that are not known, nothing is told."""
        key = (tier, outcome)
        if key in self._known:
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window()
            window.add(tenant, self._slice())

    def refresh(self) -> None:
        """Show some errors anew; once all were shown, begin again."""
        if not self._waiting:
            self._begin()
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            self._show(self._waiting.pop())

    def _slice(self) -> int:
        return int(self._now()) // _SLICE_S

    def _begin(self) -> None:
        folder = shared_folder()
        if folder is not None:
            self._others = _read(folder, self._now() - LATELY_S)
        self._waiting = [*(self._windows.keys() | self._others.keys() | self._shown)]
        if folder is not None and (self._windows or self._is_written):
            _write(folder, {key: window.whole(self._slice()) for key, window in self._windows.items()})
            self._is_written = bool(self._windows)

    def _show(self, key: Key) -> None:
        window = self._windows.get(key)
        found = window.whole(self._slice()) if window is not None else None
        if found is None:
            self._windows.pop(key, None)
        for other in self._others.get(key, ()):
            if found is None:
                found = Distinct(other.ranks)
            else:
                found.merge(other)
        self._gauge.labels(*key).set(0 if found is None else round(found.count()))
        self._shown.add(key)
        if found is None:
            self._shown.discard(key)


def _write(folder: Path, sketches: dict[Key, Distinct | None]) -> None:
    told = {
        " ".join(key): base64.b64encode(zlib.compress(sketch.ranks, 1)).decode()
        for key, sketch in sketches.items()
        if sketch is not None
    }
    path = folder / _FILE.format(os.getpid())
    fresh = path.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(told))
    fresh.replace(path)


def _read(folder: Path, since_s: float) -> dict[Key, list[Distinct]]:
    """What other processes have written down, and have not left alone for too long."""
    found: dict[Key, list[Distinct]] = {}
    own = _FILE.format(os.getpid())
    for path in folder.glob(_FILE.format("*")):
        try:
            if path.name == own or path.stat().st_mtime < since_s:
                continue
            told = orjson.loads(path.read_bytes())
        except OSError:
            continue  # its process has ended
        for key, ranks in told.items():
            tier, _, outcome = key.partition(" ")
            sketch = Distinct(zlib.decompress(base64.b64decode(ranks)))
            found.setdefault((tier, outcome), []).append(sketch)
    return found
