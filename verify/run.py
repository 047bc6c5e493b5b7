"""One verification: looks at everything that was asked for."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from registry.records import Entry
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.tenant import Tier
from verify.errors import VerifyRunning
from verify.finding import Checked
from verify.look import look_at_database, look_at_server
from verify.site import Asked, Site, survey

_LOOK_S = 60.0
"""For one database, however large its catalog."""


@dataclass(slots=True)
class Tally:
    """What a verification came to."""

    checks: int = 0
    failed: int = 0
    warnings: int = 0
    took_s: float = 0.0

    def count(self, checked: Checked) -> None:
        """One more check, with its findings."""
        self.checks += 1
        if checked.is_failed:
            self.failed += len(checked.findings)
        else:
            self.warnings += len(checked.findings)


At: TypeAlias = tuple[str, str | None]
"""A cluster and one of its databases; None for the server."""
Tell: TypeAlias = Callable[[Checked], None]
"""Hears of each check as soon as it is made."""


class Verification:
    """Verifies the installation that a registry describes."""

    def __init__(self, store: Store, full_sql: Callable[[], frozenset[Tier]]) -> None:
        """*full_sql* says whose tenants may run all of SQL, as of now."""
        self._store = store
        self._full_sql = full_sql

    async def run(self, asked: Asked, *, actor: str, tell: Tell) -> Tally:
        """Look at everything that is asked for.

        Raises:
            VerifyRunning: Somebody else is at it.
            UnknownTenant, UnknownPlace, UnknownCluster: It asks for what is not there.
            RegistryUnavailable, RegistryFailed: See registry/errors.py.
        """
        async with self._store.alone("verify") as is_alone:
            if not is_alone:
                raise VerifyRunning
            began_s, tally = time.monotonic(), Tally()

            def told(checked: Checked) -> None:
                tally.count(checked)
                tell(checked)

            await self._look(asked, told)
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
                if only is None and any(checked.is_failed for checked in done):
                    again.add(at)
                    continue
                for checked in done:
                    tell(checked)

        async with asyncio.TaskGroup() as tasks:
            for site in sites:
                tasks.create_task(look(site), name=f"look at cluster {site.cluster.name}")
        return again


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
    }
    return Entry(actor, "verify.run", subject, "findings" if tally.failed else "ok", detail)
