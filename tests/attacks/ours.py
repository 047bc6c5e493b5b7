"""Our own ways to the database: through the pools without a guard, and by a tenant's own login."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from fleet.application import read_application
from pools.binding import bind
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.attacks.ground import LOOK_ROWS, LOOK_SESSION, Ground, Party, open_ground
from tests.attacks.ring import Look, Reply, Ring, Strike
from tests.integration.test_fleet_door import EXAMPLES
from tests.support.places import POOL, Places, login_of, open_places, open_pools, pool_limits, run
from tiergate.embedded import Cluster
from tiergate.errors import TiergateError
from tiergate.tenant import Tier

_TIMEOUT_S = 4.0


@asynccontextmanager
async def open_ours(server: Cluster) -> AsyncIterator[Places]:
    """The example application in places of every tier."""
    async with open_places(server, read_application(EXAMPLES / "application")) as places:
        yield places


@asynccontextmanager
async def open_database_alone(places: Places, tier: Tier) -> AsyncIterator[Ring]:
    """The duel of the pools: every text goes to the database, behind the fence and the signed context."""
    async with _open_duel(places, tier) as (ground, switchboard, attacker, victim):

        async def strike(texts: Sequence[str]) -> Reply:
            return await _ask(switchboard, attacker, texts)

        yield await _ring(ground, switchboard, victim, strike)


@asynccontextmanager
async def open_login(places: Places, tier: Tier) -> AsyncIterator[Ring]:
    """The duel of a login: a session of its own, in the simple protocol, that was let in for the attacker."""
    async with _open_duel(places, tier) as (ground, switchboard, attacker, victim):
        session = _Session(attacker)
        ring = await _ring(ground, switchboard, victim, session.speak)
        try:
            yield replace(ring, renew=session.end, is_frail=True)
        finally:
            await session.close()


@asynccontextmanager
async def _open_duel(
    places: Places, tier: Tier
) -> AsyncIterator[tuple[Ground, Switchboard, Placement, Placement]]:
    attacker, victim, hidden = [await places.create(tier) for _ in range(3)]
    limits = pool_limits(replace(POOL, default_pool_size=2))
    async with (
        open_ground(
            _party(places, attacker), _party(places, victim), _party(places, hidden), login_of(victim.place)
        ) as ground,
        open_pools(limits) as switchboard,
    ):
        yield ground, switchboard, attacker, victim


def _party(places: Places, one: Placement) -> Party:
    names = frozenset[str]() if one.tier is Tier.STANDARD else frozenset({str(one.place.id)})
    return Party(one.tenant, places.admin(one.place), one.place.schema, names)


async def _ring(ground: Ground, switchboard: Switchboard, victim: Placement, strike: Strike) -> Ring:
    replayed = await run(switchboard, victim, "SELECT current_setting('tiergate.context')")
    words = words_for(victim, ground, str(replayed[0].rows[0][0]))

    async def renew() -> None:
        """The pools close by themselves what is not as it was."""

    return Ring(strike, _look(switchboard, victim), ground, words, renew)


def words_for(victim: Placement, ground: Ground, replayed: str) -> dict[str, str]:
    """What attackers can know of the victim, and guess of its context, at best."""
    token = bind(victim, pid=ground.pid, now_s=time.time(), timeout_ms=1000).params
    return {
        "setting": "tiergate.context",
        "forged": f"{1:010d}{'0' * 64}{victim.tenant}",
        "replayed": replayed,
        "login": victim.place.login,
        "database": victim.place.database,
        "place": str(victim.place.id),
        "epoch": str(victim.epoch),
        "token": token[5].decode(),
        "token_expires": token[4].decode(),
    }


def _look(switchboard: Switchboard, victim: Placement) -> Look:
    async def look() -> str:
        seen = await _ask(switchboard, victim, [LOOK_ROWS, LOOK_SESSION, "SELECT tiergate.tenant()"])
        return seen.text

    return look


async def _ask(switchboard: Switchboard, placement: Placement, texts: Sequence[str]) -> Reply:
    try:
        results = await run(switchboard, placement, *texts, statement_timeout_s=_TIMEOUT_S)
    except (TiergateError, ValueError) as exc:
        return Reply(f"{exc!r} {exc} {getattr(exc, 'error', '')!r}")
    told = [([field.name for field in result.fields], result.rows) for result in results]
    return Reply(str(told), tuple(value for row in results[-1].rows for value in row))


@dataclass(slots=True)
class _Session:
    """The session of a tenant's own login; made anew when it is not what it was."""

    placement: Placement
    connection: psycopg.AsyncConnection[TupleRow] | None = None

    async def speak(self, texts: Sequence[str]) -> Reply:
        """Say *texts* in a transaction that was let in, and all that came back."""
        told: list[str] = []
        last: tuple[str | None, ...] = ()
        try:
            texts = await self._begin(texts)
            assert self.connection is not None
            for text in texts:
                try:
                    last = await _answers(self.connection, text, told)
                except (psycopg.Error, ValueError, UnicodeError) as exc:
                    last = ()
                    told.append(f"{exc!r} {_fields(exc)}")
        except psycopg.Error as exc:
            await self.close()
            told.append(f"{exc!r} {exc}")
        return Reply("\n".join(told), last)

    async def _begin(self, texts: Sequence[str]) -> Sequence[str]:
        where = login_of(self.placement.place)
        if texts[0].startswith("\\connect "):
            await self.close()
            where, texts = make_conninfo(where, dbname=texts[0].split()[1]), texts[1:] or ["SELECT 1"]
        if self.connection is None:
            self.connection = await psycopg.AsyncConnection.connect(
                where, autocommit=True, prepare_threshold=None
            )
        await self.connection.execute("ROLLBACK")
        await _enter(self.connection, self.placement)
        return texts

    async def end(self) -> None:
        """Forget all that the session has been told."""
        if self.connection is None:
            return
        try:
            await self.connection.execute("ROLLBACK")
            await self.connection.execute("DISCARD ALL")
        except psycopg.Error:
            await self.close()

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()
            self.connection = None


async def _enter(connection: psycopg.AsyncConnection[TupleRow], placement: Placement) -> None:
    binding = bind(placement, pid=connection.info.backend_pid, now_s=time.time(), timeout_ms=4000)
    await connection.execute("BEGIN")
    await connection.execute(
        "SELECT tiergate.enter(%s, %s, %s, %s, %s, %s, %s)", [part.decode() for part in binding.params]
    )


async def _answers(
    connection: psycopg.AsyncConnection[TupleRow], text: str, told: list[str]
) -> tuple[str | None, ...]:
    if "STDOUT" in text:
        async with connection.cursor().copy(text.encode()) as copy:
            told.extend([str(row) async for row in copy.rows()])
        return ()
    if "STDIN" in text:
        async with connection.cursor().copy(text.encode()) as copy:
            await copy.write_row(["t", "planted@x", "planted"])
        return ()
    cursor = await connection.execute(text.encode())
    last: tuple[str | None, ...] = ()
    while True:
        if cursor.description is not None:
            rows = await cursor.fetchall()
            told.append(str(rows))
            last = tuple(None if value is None else str(value) for row in rows for value in row)
        if not cursor.nextset():
            return last


def _fields(error: BaseException) -> str:
    """Every word that the server said with an error."""
    if not isinstance(error, psycopg.Error):
        return ""
    diag = error.diag
    names = (
        "message_primary",
        "message_detail",
        "message_hint",
        "context",
        "schema_name",
        "table_name",
        "constraint_name",
    )
    return " ".join(str(getattr(diag, name)) for name in names)
