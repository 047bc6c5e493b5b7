"""What is known of one tenant, counted always and told to whoever asks for it by name.

Invariants. No more than `2 * most` tenants are remembered, those among them that were asked for lately: so of
a tenant that is looked at, no count falls. Of several processes each counts for itself, and one answer speaks
for all (see `observe.tenant_files`); what was in hand is told of those that live.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from observe.processes import shared_folder
from observe.snapshot import TenantCount
from observe.tenant_families import TenantFamilies
from observe.tenant_files import MOST_WANTED, WANTED_S, TenantFiles
from observe.tenant_sums import BOUNDS_S, Sums
from tiergate.events import RequestAnswered

_MOST = 4096
_OTHERS_S = 2.5  # they look each second for whom they are to tell of
_LOOK_S = 0.05

Look = Callable[[Mapping[str, str]], Mapping[str, TenantCount]]
"""By tenant and place, what each has in hand now."""


class TenantMetrics:
    """Folds answered requests by tenant.

    Args:
        outcomes: How requests may end, shown as 0 before they first do.
        most: Tenants that are remembered for certain; up to twice as many are.
    """

    def __init__(
        self,
        outcomes: Iterable[str],
        look: Look = lambda _wanted: {},
        most: int = _MOST,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._outcomes = tuple(outcomes)
        self._look = look
        self._most = most
        self._now = now
        self._young: dict[str, _Tally] = {}
        self._old: dict[str, _Tally] = {}
        self._wanted: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def fold(self, event: RequestAnswered) -> None:
        """One request has its answer."""
        tenant = event.tenant
        if tenant is not None:
            found = self._young.get(tenant)
            if found is None:
                found = self._begin(tenant)
            found.add(event)

    def refresh(self) -> None:
        """Learn whom others were asked for, and leave for them what this process knows of those."""
        files, since_s = _files(), self._now() - WANTED_S
        if files is None:
            self._wanted = {name: each for name, each in self._wanted.items() if each[1] > since_s}
        else:
            self._wanted = files.wanted(since_s)
            files.write(self._sums())

    async def show(self, tenant: str, place: str | None) -> tuple[bytes, str] | None:
        """Body and content type; None when it is not said where *tenant* lives, and it was never heard of.

        Who was not asked for lately takes up to a second longer where there are several processes.
        """
        if place is None and not (tenant in self._young or tenant in self._old or tenant in self._wanted):
            return None
        place = self._wanted.get(tenant, ("", 0.0))[0] if place is None else place
        files = _files()
        if files is None:
            self._want(tenant, place)
            told = self._sums()[tenant]
        else:
            files.want(tenant, place)
            self.refresh()  # what this process says here, it must have left for the others' answers, too
            told = await self._together(files, tenant)
        registry = CollectorRegistry()
        registry.register(TenantFamilies(tenant, told, self._outcomes))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _begin(self, tenant: str) -> "_Tally":
        found = self._old.pop(tenant, None) or _Tally()
        if len(self._young) >= self._most:
            kept = {name: self._old[name] for name in self._wanted if name in self._old}
            self._young, self._old = kept, self._young
        self._young[tenant] = found
        return found

    def _want(self, tenant: str, place: str) -> None:
        self._wanted.pop(tenant, None)
        if len(self._wanted) >= MOST_WANTED:
            del self._wanted[next(iter(self._wanted))]
        self._wanted[tenant] = (place, self._now())

    def _sums(self) -> dict[str, Sums]:
        in_hand = self._look({name: place for name, (place, _) in self._wanted.items()})
        nothing = _Tally()
        return {
            name: (self._young.get(name) or self._old.get(name) or nothing).sums(in_hand.get(name))
            for name in self._wanted
        }

    async def _together(self, files: TenantFiles, tenant: str) -> Sums:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _OTHERS_S
        while True:
            found = files.read()
            if all(tenant in each.sums for each in found if each.lives) or loop.time() >= until_s:
                break
            await asyncio.sleep(_LOOK_S)
        whole = Sums.nothing()
        for each in found:
            if (sums := each.sums.get(tenant)) is not None:
                whole.add(sums if each.lives else sums.without_in_hand())
        return whole


def _files() -> TenantFiles | None:
    folder = shared_folder()
    return None if folder is None else TenantFiles(folder)


class _Tally:
    """One tenant's requests as they are answered."""

    __slots__ = (
        "auth_s", "bytes_in", "bytes_out", "connect_s", "counts", "database_s", "encode_s", "failed", "ok",
        "queue_s", "round_trips", "rows", "total_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ok = self.rows = self.bytes_in = self.bytes_out = self.round_trips = 0
        self.failed: dict[str, int] | None = None
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.auth_s = self.queue_s = self.connect_s = self.database_s = self.encode_s = self.total_s = 0.0

    def add(self, event: RequestAnswered) -> None:
        if event.outcome == "ok":
            self.ok += 1
        else:
            failed = self.failed = self.failed or {}
            failed[event.outcome] = failed.get(event.outcome, 0) + 1
        self.counts[bisect_left(BOUNDS_S, event.total_s)] += 1
        self.total_s += event.total_s
        self.auth_s += event.auth_s
        self.queue_s += event.queue_s
        self.connect_s += event.connect_s
        self.database_s += event.database_s
        self.encode_s += event.encode_s
        self.rows += event.rows
        self.bytes_in += event.bytes_in
        self.bytes_out += event.bytes_out
        self.round_trips += event.round_trips

    def sums(self, in_hand: TenantCount | None) -> Sums:
        return Sums(
            outcomes={"ok": self.ok, **(self.failed or {})},
            counts=list(self.counts),
            total_s=self.total_s,
            phases_s=[self.auth_s, self.queue_s, self.connect_s, self.database_s, self.encode_s],
            rows=self.rows,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            round_trips=self.round_trips,
            in_hand=in_hand or TenantCount(),
        )
