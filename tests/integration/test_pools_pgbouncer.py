"""Requests through a real PgBouncer in transaction mode, where nobody knows the server process beforehand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from pools.binding import Binding, bind
from pools.errors import ContextRefused, StaleRoute, StatementFailed
from pools.lease import Isolation
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.pgbouncer import Pooler, open_pgbouncer
from tests.support.places import (
    ENDLESS,
    POOL,
    Places,
    login_of,
    open_admin,
    open_places,
    open_pools,
    open_way,
    pool_limits,
    run,
    sessions,
    until,
    value,
)
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture(scope="module")
async def pooler(postgres: Cluster) -> AsyncIterator[Pooler]:
    async with open_pgbouncer(postgres) as opened:
        yield opened


@pytest.fixture
async def pools() -> AsyncIterator[Switchboard]:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=8), budget=20)) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Way:
    """Makes tenants that are reached through PgBouncer."""

    places: Places
    pooler: Pooler

    async def create(self, tier: Tier) -> Placement:
        placement = await self.places.create(tier)
        async with open_admin(self.places.admin(placement.place)) as admin:
            await admin.execute("UPDATE tiergate.context_key SET pooled = true")
        return self.pooler.before(placement)


@pytest.fixture
def way(places: Places, pooler: Pooler) -> Way:
    return Way(places, pooler)


@pytest.mark.parametrize("tier", Tier)
async def test_every_tier_is_served_in_one_round_trip(way: Way, pools: Switchboard, tier: Tier) -> None:
    acme = await way.create(tier)
    async with open_way(acme) as (proxy, by_proxy):
        await run(pools, by_proxy, "SELECT 1")
        for number in range(4):
            before = proxy.round_trips
            await run(
                pools, by_proxy,
                Statement("INSERT INTO notes (id) VALUES ($1)", (str(number).encode(),)),
                "SELECT count(*) FROM notes",
            )  # fmt: skip
            assert proxy.round_trips - before == 1
        assert await value(pools, by_proxy, "SELECT tiergate.tenant()") == acme.tenant
        assert await value(pools, by_proxy, "SELECT count(*) FROM notes") == "4"


@pytest.mark.parametrize("isolation", Isolation)
async def test_isolation_levels_and_read_only_are_those_of_the_transaction(
    way: Way, pools: Switchboard, isolation: Isolation
) -> None:
    acme = await way.create(Tier.STANDARD)
    shown = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    [result] = await run(pools, acme, shown, isolation=isolation, read_only=True)
    assert result.rows == [(isolation.lower(), "on")]

    [result] = await run(pools, acme, shown)
    assert result.rows == [("read committed", "off")]


async def test_tenants_that_take_turns_on_few_server_processes_never_meet(
    way: Way, pools: Switchboard
) -> None:
    """Hundreds of transactions, failed ones among them, on the 2 processes of the shared place."""
    tenants = [await way.create(Tier.STANDARD) for _ in range(4)]
    own = [await way.create(tier) for tier in (Tier.PREMIUM, Tier.GOVERNMENT)]
    pids: set[str | None] = set()

    async def work(placement: Placement, number: int) -> None:
        for turn in range(40):
            match turn % 4:
                case 0:
                    text = f"INSERT INTO notes (id, body) VALUES ({number * 1000 + turn}, tiergate.tenant())"
                    await run(pools, placement, text)
                case 1:
                    with pytest.raises(StatementFailed):
                        await run(pools, placement, "SELECT 1", "SELECT 1/0")
                case 2:
                    [result] = await run(
                        pools, placement,
                        "SELECT tenant_id, body FROM notes UNION SELECT tiergate.tenant(), tiergate.tenant()",
                    )  # fmt: skip
                    assert set(result.rows) == {(placement.tenant, placement.tenant)}
                case _:
                    if placement.tier is Tier.STANDARD:
                        pids.add(await value(pools, placement, PID))

    async with asyncio.TaskGroup() as tasks:
        for number, placement in enumerate(tenants + own):
            for part in range(2):
                tasks.create_task(work(placement, 2 * number + part))

    assert len(pids) == 2
    for placement in tenants + own:
        assert await value(pools, placement, "SELECT count(*) FROM notes") == "20"


async def test_a_text_that_comes_again_and_again_is_prepared_only_where_the_pooler_keeps_track(
    way: Way, pools: Switchboard, places: Places
) -> None:
    acme, globex = await way.create(Tier.STANDARD), await way.create(Tier.STANDARD)
    await run(pools, acme, "INSERT INTO notes (id) VALUES (1)")

    async def ask(placement: Placement, count: str) -> None:
        for _ in range(20):
            assert await value(pools, placement, "SELECT count(*) FROM notes WHERE id < 2000") == count

    await asyncio.gather(*(ask(acme, "1") for _ in range(4)), *(ask(globex, "0") for _ in range(4)))


async def test_a_table_that_changes_under_prepared_statements_fails_nobody(
    way: Way, pools: Switchboard, places: Places
) -> None:
    acme = await way.create(Tier.PREMIUM)
    for _ in range(3):
        await run(pools, acme, "SELECT * FROM notes")
    async with open_admin(places.admin(acme.place)) as admin:
        table = f'"{acme.place.schema}".notes'
        await admin.execute(f"ALTER TABLE {table} ADD COLUMN more text".encode())
        await admin.execute(f'GRANT SELECT ON {table} TO "{acme.place.login}"'.encode())
    [result] = await run(pools, acme, "SELECT * FROM notes")

    assert len(result.fields) == 4


async def test_nothing_of_one_transaction_shows_in_the_next(way: Way, pools: Switchboard) -> None:
    acme, globex = await way.create(Tier.STANDARD), await way.create(Tier.STANDARD)
    look = (
        "SELECT current_user, session_user, current_setting('tiergate.context', true) LIKE '%' || $1 || '%',"
        " current_setting('statement_timeout')"
    )
    for before in ("SELECT 1", "SELECT 1/0", ENDLESS):
        for _ in range(2):
            with suppress(StatementFailed):
                await run(pools, acme, before, statement_timeout_s=0.2)
        [result] = await run(pools, globex, Statement(look, (acme.tenant.encode(),)), statement_timeout_s=7)
        assert result.rows == [("tiergate_app", globex.place.login, "f", "7s")]


# -- attacks


SPIES = [
    "SELECT current_query()", "SELECT string_agg(query, '') FROM pg_stat_activity",
    "SELECT string_agg(statement || parameter_types::text, '') FROM pg_prepared_statements",
    "SELECT string_agg(statement, '') FROM pg_cursors", "SELECT current_setting('tiergate.context')",
    "SELECT string_agg(name || setting, '') FROM pg_settings", "SELECT 'x'::int", "SELECT $1::int / 0",
]  # fmt: skip


@pytest.mark.parametrize("tier", Tier)
async def test_a_tenants_sql_never_sees_the_token_that_let_it_in(
    way: Way, pools: Switchboard, tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []

    def noted(*what: Any, **more: Any) -> Binding:  # Any: handed through
        sent.append(bind(*what, **more).params[5])
        return bind(*what, **more)

    monkeypatch.setattr("pools.lease.bind", noted)
    acme = await way.create(tier)
    for text in SPIES:
        statement = Statement(text, (b"1",)) if "$1" in text else text
        try:
            said = repr(await run(pools, acme, statement))
        except StatementFailed as failed:
            said = repr(failed.error)

        assert sent, "the spy has seen no token"
        assert not any(token[1:].decode() in said for token in sent), text


async def test_without_the_mark_nothing_comes_through(way: Way, pools: Switchboard, places: Places) -> None:
    acme = await way.create(Tier.STANDARD)
    async with open_admin(places.admin(acme.place)) as admin:
        await admin.execute("UPDATE tiergate.context_key SET pooled = false")
        try:
            with pytest.raises(ContextRefused) as refused:
                await run(pools, acme, "SELECT 1")
        finally:
            await admin.execute("UPDATE tiergate.context_key SET pooled = true")

    assert (refused.value.doubt, refused.value.reason) == (
        "key", "tiergate: this database takes nothing through a pooler",
    )  # fmt: skip


async def test_what_names_a_process_is_refused_behind_the_pooler(way: Way, pools: Switchboard) -> None:
    acme = await way.create(Tier.PREMIUM)
    with pytest.raises(ContextRefused, match="did not accept") as refused:
        await run(pools, replace(acme, place=replace(acme.place, via_pgbouncer=False)), "SELECT 1")

    assert "not signed for this tenant and connection" in refused.value.reason


async def test_the_fence_holds_behind_the_pooler(way: Way, pools: Switchboard, places: Places) -> None:
    acme = await way.create(Tier.STANDARD)
    await run(pools, acme, "SELECT 1")
    async with open_admin(places.admin(acme.place)) as admin:
        await admin.execute(
            "UPDATE tiergate.fence SET state = 'suspended' WHERE tenant_id = %s", (acme.tenant,)
        )
    with pytest.raises(StaleRoute):
        await run(pools, acme, "SELECT 1")


# -- when things go wrong


async def test_a_deadline_ends_the_statement_at_the_server(
    way: Way, pools: Switchboard, places: Places
) -> None:
    """The pooler hands our cancel on; the process is gone or at rest soon after."""
    acme = await way.create(Tier.PREMIUM)
    await run(pools, acme, "SELECT 1")
    locked = "SELECT count(*) FROM notes"
    async with open_admin(places.admin(acme.place)) as admin, admin.transaction():
        await admin.execute(f'LOCK TABLE "{acme.place.schema}".notes IN ACCESS EXCLUSIVE MODE'.encode())
        task = asyncio.create_task(run(pools, acme, locked, within_s=20))

        async def waits() -> bool:
            return any("Lock" in state for state in (await sessions(admin, acme.place.login)).values())

        await until(waits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async def rests() -> bool:
            return not await waits()

        await until(rests)
    assert await value(pools, acme, "SELECT tiergate.tenant()") == acme.tenant


async def test_a_wait_in_the_poolers_queue_beyond_the_tokens_life_fails_nobody(
    postgres: Cluster, way: Way, pools: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused as too late has not run; it goes once more, with all the time that is left."""
    ends: list[int] = []

    def noted(*what: Any, **more: Any) -> Binding:  # Any: handed through
        made = bind(*what, **more)
        ends.append(int(made.params[4]))
        return made

    monkeypatch.setattr("pools.lease._POOLED_LIFE_S", 0.0)
    monkeypatch.setattr("pools.lease.bind", noted)
    async with open_pgbouncer(postgres, pool_size=1) as narrow:
        acme = narrow.before(await way.create(Tier.PREMIUM))
        await run(pools, acme, "SELECT 1")
        ends.clear()
        async with (
            open_admin(way.places.admin(acme.place)) as admin,
            await psycopg.AsyncConnection.connect(login_of(acme.place)) as holder,
        ):
            await holder.execute("SELECT 1")
            task = asyncio.create_task(run(pools, acme, "INSERT INTO notes (id) VALUES (1)"))

            async def is_too_late() -> bool:
                cursor = await admin.execute("SELECT extract(epoch FROM clock_timestamp())")
                now = (await cursor.fetchone() or (0,))[0]
                return bool(ends) and now > ends[0]

            await until(is_too_late)
            await holder.rollback()
        await task

        assert len(ends) == 2  # the second is the one that counted
        assert await value(pools, acme, "SELECT count(*) FROM notes") == "1"
