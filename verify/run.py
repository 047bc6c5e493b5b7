"""One verification: looks at everything that was asked for, then has two tenants of its own try to escape."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from guard.verdict import Guard
from pools.switchboard import Switchboard
from registry.records import Entry
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.tenant import Tier
from verify.canary import put_canary
from verify.door import Door
from verify.errors import VerifyRunning
from verify.escapes import escapes
from verify.finding import Checked, Finding, Where, checked
from verify.look import look_at_database, look_at_server
from verify.site import Asked, Site, survey
from verify.throwaway import Tenants, Throwaways
from verify.tries import Duel, look

_LOOK_S = 60.0
"""For one database, however large its catalog."""


@dataclass(slots=True)
class Tally:
    """What a verification came to."""

    checks: int = 0
    failed: int = 0
    warnings: int = 0
    took_s: float = 0.0

    def count(self, made: Checked) -> None:
        """One more check, with its findings."""
        self.checks += 1
        if made.is_failed:
            self.failed += len(made.findings)
        else:
            self.warnings += len(made.findings)


At: TypeAlias = tuple[str, str | None]
"""A cluster and one of its databases; None for the server."""
Tell: TypeAlias = Callable[[Checked], None]
"""Hears of each check as soon as it is made."""


class Verification:
    """Verifies the installation that a registry describes."""

    def __init__(
        self,
        store: Store,
        tenants: Tenants,
        switchboard: Switchboard,
        *,
        schema: str,
        full_sql: Callable[[], frozenset[Tier]],
        guard: Callable[[], Guard],
    ) -> None:
        """Nothing is done yet.

        Args:
            schema: Where the application's tables lie on the standard and government tiers.
            full_sql: Whose tenants may run all of SQL, as of now.
            guard: What the statements of the others are held against, as of now.
        """
        self._store = store
        self._tenants = tenants
        self._switchboard = switchboard
        self._schemas = frozenset({"public", schema})
        self._full_sql = full_sql
        self._guard = guard

    async def run(self, asked: Asked, *, actor: str, tell: Tell) -> Tally:
        """Look, then try.

        Raises:
            VerifyRunning: Somebody else is at it.
            UnknownTenant, UnknownPlace, UnknownCluster: It asks for what is not there.
            RegistryUnavailable, RegistryFailed: See registry/errors.py.
        """
        async with self._store.alone("verify") as is_alone:
            if not is_alone:
                raise VerifyRunning
            began_s, tally = time.monotonic(), Tally()

            def told(made: Checked) -> None:
                tally.count(made)
                tell(made)

            await self._look(asked, told)
            if asked.tries:
                await self._try(asked, actor, told)
            tally.took_s = time.monotonic() - began_s
            await self._store.record(_entry(asked, actor, tally))
            return tally

    async def _look(self, asked: Asked, tell: Tell) -> None:
        """Look at every server and database; twice where something is wrong.

        The registry goes on changing while we look: what is wrong by it must be so by a registry
        that was read afterwards, too.
        """
        doubtful = await self._pass(await survey(self._store, asked, self._full_sql()), None, tell)
        if doubtful:
            await self._pass(await survey(self._store, asked, self._full_sql()), doubtful, tell)

    async def _pass(self, sites: list[Site], only: set[At] | None, tell: Tell) -> set[At]:
        """Look at *only*, or at everything once; returns what has to be looked at again."""
        again: set[At] = set()

        async def look(site: Site) -> None:
            for database in (None, *site.databases()):
                at = (site.cluster.name, database)
                if only is not None and at not in only:
                    continue
                done = await _look(site, database)
                if only is None and any(each.is_failed for each in done):
                    again.add(at)
                    continue
                for each in done:
                    tell(each)

        async with asyncio.TaskGroup() as tasks:
            for site in sites:
                tasks.create_task(look(site), name=f"look at cluster {site.cluster.name}")
        return again

    async def _try(self, asked: Asked, actor: str, tell: Tell) -> None:
        """Have two tenants of ours try every escape, on each cluster that was asked for."""
        throwaways = Throwaways(self._store, self._tenants, self._switchboard, actor=actor)
        await throwaways.sweep()
        sites = await survey(self._store, asked, self._full_sql())
        async with asyncio.TaskGroup() as tasks:
            for site in sites:
                tasks.create_task(self._duel(throwaways, site, tell), name=f"try cluster {site.cluster.name}")

    async def _duel(self, throwaways: Throwaways, site: Site, tell: Tell) -> None:
        where = Where(site.cluster.name, site.tier)
        door = Door(self._switchboard, self._schemas)
        try:
            async with throwaways.open(site.cluster) as (attacker, victim):
                canary = await put_canary(door, site.access, victim, Deadline.after(_LOOK_S))
                if canary is None:
                    finding = Finding("the application's tables", "none takes a row of ours")
                    tell(checked("canary-missing", where, [finding]))
                    return
                guard = None if site.is_full else self._guard()
                seen = await look(door, victim, canary)
                duel = Duel(door, site.access.conninfo, attacker, victim, canary, seen, guard)
                for escape in escapes():
                    if site.tier in escape.tiers and not (escape.is_guarded and site.is_full):
                        found = [Finding(canary.table, wrong) for wrong in await duel.attempt(escape)]
                        tell(checked("escape", where, found, name=escape.name))
        except TiergateError as error:
            tell(checked("try-failed", where, [Finding("the tenants that try", f"{error.code}: {error}")]))


async def _look(site: Site, database: str | None) -> list[Checked]:
    deadline = Deadline.after(_LOOK_S)
    if database is None:
        return await look_at_server(site, deadline)
    return await look_at_database(site, database, deadline)


def _entry(asked: Asked, actor: str, tally: Tally) -> Entry:
    subject = asked.tenant or asked.place or asked.cluster or "installation"
    detail = {
        "checks": tally.checks,
        "failed": tally.failed,
        "warnings": tally.warnings,
        "tries": asked.tries,
    }
    return Entry(actor, "verify.run", subject, "findings" if tally.failed else "ok", detail)
