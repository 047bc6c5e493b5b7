"""The one door that reads, or writes, across tenants; closed unless a key of its own is set.

What is asked is in the audit before anything runs, with its text and its reason; how it ended comes after.
An entry without its end is a gateway that died in between: take it that everything ran.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NoReturn

from admin.acting import Acting
from fleet.access import ClusterAccess, access_of
from fleet.across import Question, ask
from fleet.errors import ClusterUnreachable
from pools.statement import Renaming, fence
from registry.errors import RegistryFailed, RegistryUnavailable, UnknownTenant
from registry.moves import Move, MoveState
from registry.placement import Place, PlaceId
from registry.records import Entry, PlaceState
from registry.store import Store
from tiergate.deadline import Deadline, finish
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId, Tier

MOST_BYTES = 64 * 1024 * 1024
WHOLE_S = 600.0
"""For all places together."""

_AT_ONCE = 8
"""Clusters; each has one connection of ours at a time."""
_CONNECT_S = 10.0
_LAST_WORD_S = 5.0
_MOST_MOVES = 10_000
_MOST_TOLD = 20
"""Places whose failure the audit names; it counts all."""

Json = dict[str, object]
TellRow = Callable[[Mapping[str, str | None]], Awaitable[int]]
Tell = Callable[[Json], Awaitable[int]]
"""Hands a line to the caller; how many bytes it has."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to know of everybody.

    Attributes:
        tenants: Only the places where these live; on the standard tier others live there, too.
        max_rows: Of all places together.
        timeout_s: For each place.
    """

    sql: str
    reason: str
    writes: bool
    tier: Tier | None
    cluster: str | None
    tenants: tuple[TenantId, ...]
    max_rows: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A use that is in the audit, and may run now.

    Attributes:
        entry: Its number there.
        homes: The places of each cluster.
        copies: Tenants whose rows are in a place, too, while they live elsewhere: they are moving.
    """

    entry: int
    actor: str
    asked: Asked
    homes: Sequence[tuple[ClusterAccess, Sequence[Place]]]
    copies: Mapping[PlaceId, Sequence[TenantId]]


@dataclass(slots=True)
class _Sum:
    """What came of it so far; *rows* counts those that were changed, too."""

    rows: int = 0
    told: int = 0
    told_bytes: int = 0
    answered: int = 0
    is_cut: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        if self.is_cut:
            return "cut"
        return "places-failed" if self.failed else "ok"


class _Enough(Exception):
    """The result is as large as it may be."""


class Across(Acting):
    """Acts across tenants.

    Args:
        schemas: Names that stand for the application's schema in a statement.
    """

    def __init__(self, store: Store, schemas: frozenset[str]) -> None:
        super().__init__(store)
        self._schemas = schemas

    async def begin(self, asked: Asked, *, actor: str) -> Begun:
        """Find the places and write down what is about to happen; nothing has run.

        Raises:
            UnknownTenant, UnknownCluster: There is none of that name.
            StatementRefused, StatementCostly, StatementTooLong: It is no query or change of rows.
            RegistryUnavailable, RegistryFailed: It cannot be written down, so nothing will run.
        """
        act = "across.write" if asked.writes else "across.read"
        async with self._witnessed(actor, act, "every tenant"):
            fence(asked.sql, Renaming(self._schemas, "place"))
            copies = _copies(await self._store.moves(open_only=True, limit=_MOST_MOVES))
            homes = await self._homes(asked, copies)
        detail = {
            "reason": asked.reason,
            "sql": asked.sql,
            "tier": asked.tier,
            "cluster": asked.cluster,
            "tenants": list(asked.tenants) or None,
            "places": sum(len(places) for _, places in homes),
        }
        entry = await self._store.record(Entry(actor, act, "every tenant", "begun", detail))
        return Begun(entry, actor, asked, homes, copies)

    async def refuse(self, error: TiergateError, *, actor: str) -> NoReturn:
        """Write down that somebody with the admin's key was refused.

        Raises:
            TiergateError: *error*.
        """
        async with self._witnessed(actor, "across.read", "every tenant"):
            raise error

    async def run(self, begun: Begun, tell: Tell) -> None:
        """Ask every place, and tell each row and how each place ended."""
        total, outcome, began_s = _Sum(), "internal", time.monotonic()
        turns = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.timeout(WHOLE_S), asyncio.TaskGroup() as tasks:
                for access, places in begun.homes:
                    tasks.create_task(
                        self._ask_cluster(turns, access, places, begun, total, tell),
                        name=f"across {access.name}",
                    )
            outcome = total.outcome
        except TimeoutError:
            outcome = "timeout"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            is_audited = await finish(self._end(begun, total, outcome, began_s), within_s=_LAST_WORD_S)
        await tell(
            {
                "kind": "end",
                "outcome": outcome,
                "rows": total.rows,
                "answered": total.answered,
                "failed": len(total.failed),
                "entry": begun.entry,
                "audited": is_audited,
            }
        )

    async def _homes(
        self, asked: Asked, copies: Container[PlaceId]
    ) -> list[tuple[ClusterAccess, list[Place]]]:
        only: set[str] | None = None
        if asked.tenants:
            only = set()
            for tenant in asked.tenants:
                placement = await self._store.route(tenant)
                if placement is None:
                    raise UnknownTenant(tenant)
                only.add(placement.place.id)
        named = asked.cluster
        clusters = [await self._store.cluster(named)] if named is not None else await self._store.clusters()
        homes = []
        for home in clusters:
            if asked.tier not in {None, home.tier}:
                continue
            found = [
                known.place
                for known in await self._store.places(home.name)
                if known.state is PlaceState.READY
                and (only is None or known.place.id in only)
                and (known.place.tier is Tier.STANDARD or known.place.id not in copies)
            ]
            if found:
                homes.append((access_of(home), found))
        return homes

    async def _ask_cluster(
        self,
        turns: asyncio.Semaphore,
        access: ClusterAccess,
        places: Sequence[Place],
        begun: Begun,
        total: _Sum,
        tell: Tell,
    ) -> None:
        """Ask the places of one cluster one after the other; one that is gone is not dialled again."""
        gone: ClusterUnreachable | None = None
        async with turns:
            for place in places:
                where: Json = {"place": place.id, "tier": place.tier, "cluster": place.cluster}
                try:
                    if gone is not None:
                        raise gone
                    rows = await self._ask_place(
                        access, place, begun.asked, total, partial(_tell_row, tell, where)
                    )
                except _Enough:
                    total.is_cut = True
                    ended: Json = {"outcome": "cut", "message": "the result is as large as it may be"}
                except TiergateError as error:
                    gone = error if isinstance(error, ClusterUnreachable) else None
                    total.failed[place.id] = error.code
                    ended = {"outcome": error.code, "message": str(error), "retryable": error.retryable}
                else:
                    total.rows += rows
                    total.answered += 1
                    ended = {"outcome": "ok", "rows": rows}
                if moving := begun.copies.get(place.id):
                    ended["copies"] = list(moving)
                await tell({"kind": "place", **where, **ended})

    async def _ask_place(
        self, access: ClusterAccess, place: Place, asked: Asked, total: _Sum, tell_row: TellRow
    ) -> int:
        async def take(names: Sequence[str], values: Sequence[str | None]) -> None:
            if total.told >= asked.max_rows or total.told_bytes >= MOST_BYTES:
                raise _Enough
            total.told += 1
            total.told_bytes += await tell_row(dict(zip(names, values, strict=True)))

        if total.is_cut:
            raise _Enough
        fenced = fence(asked.sql, Renaming(self._schemas, place.schema))
        question = Question(asked.writes, asked.timeout_s)
        return await ask(access, place, question, fenced, take, Deadline.after(_CONNECT_S + asked.timeout_s))

    async def _end(self, begun: Begun, total: _Sum, outcome: str, began_s: float) -> bool:
        """Write down how it ended; whether that could be done."""
        detail = {
            "begun": begun.entry,
            "rows": total.rows,
            "answered": total.answered,
            "failed": len(total.failed),
            "failures": dict(islice(total.failed.items(), _MOST_TOLD)),
            "ms": round(1000 * (time.monotonic() - began_s)),
        }
        try:
            await self._store.record(Entry(begun.actor, "across.end", "every tenant", outcome, detail))
        except (RegistryUnavailable, RegistryFailed):
            return False
        return True


def _copies(moves: Sequence[Move]) -> dict[PlaceId, list[TenantId]]:
    """Who has rows in a place without living there, since it is moving: at each of those places."""
    left = {MoveState.SOAKING, MoveState.RETURNING, MoveState.CLEANING}
    found: dict[PlaceId, list[TenantId]] = {}
    for move in moves:
        spot = move.source if move.state in left else move.target
        found.setdefault(spot.place, []).append(move.tenant)
    return found


async def _tell_row(tell: Tell, where: Json, row: Mapping[str, str | None]) -> int:
    return await tell({"kind": "row", **where, "row": row})
