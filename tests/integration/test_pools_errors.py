"""Statements that fail: what the caller is told, what is taken back, and that the connection lives on."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from pools.errors import (
    ContextRefused,
    DatabaseUnavailable,
    DeadlineExceeded,
    PgError,
    StaleRoute,
    StatementFailed,
)
from pools.lease import Isolation
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import (
    ENDLESS,
    POOL,
    Heard,
    Places,
    open_admin,
    open_places,
    open_pools,
    pool_limits,
    run,
    sessions,
    until,
    value,
)
from tiergate.embedded import Cluster
from tiergate.errors import TiergateError
from tiergate.events import ConnectionClosed, LoopFailed
from tiergate.tenant import Tier

ONE = pool_limits(replace(POOL, default_pool_size=1))
PID = "SELECT pg_backend_pid()"
TRIES = 10


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    """A tenant whose login nobody else uses."""
    return await places.create(Tier.PREMIUM)


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def pools(heard: Heard) -> AsyncIterator[Switchboard]:
    """At most one connection, so that whoever comes next gets the same one."""
    async with open_pools(ONE, heard) as opened:
        yield opened
    assert heard.of(LoopFailed) == []


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


Admin = psycopg.AsyncConnection[tuple[object, ...]]


async def until_at_work(admin: Admin, placement: Placement) -> None:
    """The tenant's server process is in the middle of a statement."""

    async def holds() -> bool:
        return any(
            state.endswith(":active") for state in (await sessions(admin, placement.place.login)).values()
        )

    await until(holds)


async def until_gone(admin: Admin, placement: Placement) -> None:
    """The tenant has no server process."""

    async def holds() -> bool:
        return not await sessions(admin, placement.place.login)

    await until(holds)


async def test_an_error_is_told_in_full(pools: Switchboard, acme: Placement) -> None:
    await run(pools, acme, "INSERT INTO notes (id) VALUES (1)")
    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, "SELECT 1", "INSERT INTO notes (id) VALUES (1)")
    error = failed.value.error

    assert failed.value.index == 1
    assert str(failed.value) == error.message
    assert replace(error, line="0") == PgError(
        message='duplicate key value violates unique constraint "notes_pkey"', code="23505", severity="ERROR",
        schema=acme.place.schema, table="notes",
        constraint="notes_pkey", file="nbtinsert.c", line="0", routine="_bt_check_unique",
    )  # fmt: skip


async def test_the_server_says_where_what_and_how_to_help(pools: Switchboard, acme: Placement) -> None:
    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, "SELECT 'é', lengthh('x')")
    assert failed.value.error.position == "13"
    assert "No function matches" in (failed.value.error.hint or failed.value.error.detail or "")

    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, "INSERT INTO notes (id) VALUES (NULL)")
    assert (failed.value.error.column, failed.value.error.code) == ("id", "23502")

    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, "SELECT 'x'::jsonb")
    assert "JSON data, line 1: x" in (failed.value.error.where or "")
    assert failed.value.error.detail == 'Token "x" is invalid.'


async def test_a_failed_statement_takes_the_whole_batch_back_and_leaves_the_connection(
    pools: Switchboard, acme: Placement
) -> None:
    pid = await value(pools, acme, PID)
    for _ in range(3):
        with pytest.raises(StatementFailed) as failed:
            await run(
                pools, acme,
                "INSERT INTO notes (id) VALUES (1)",
                "INSERT INTO notes (id, body) VALUES (2, 'bad')",
                "INSERT INTO notes (id) VALUES (3)",
            )  # fmt: skip
        assert (failed.value.index, failed.value.error.code) == (1, "23514")

    assert await value(pools, acme, "SELECT count(*) FROM notes") == "0"
    assert await value(pools, acme, PID) == pid


async def test_a_constraint_that_fails_at_commit_is_told_and_nothing_is_kept(
    pools: Switchboard, acme: Placement
) -> None:
    pid = await value(pools, acme, PID)
    with pytest.raises(StatementFailed) as failed:
        await run(
            pools,
            acme,
            "INSERT INTO notes (id) VALUES (1)",
            "INSERT INTO replies (id, note_id) VALUES (1, 99) RETURNING id",
        )

    assert (failed.value.error.code, failed.value.error.constraint) == ("23503", "replies_to_a_note")
    assert failed.value.index == 2
    assert await value(pools, acme, "SELECT count(*) FROM notes") == "0"
    assert await value(pools, acme, PID) == pid


async def test_a_statement_ends_at_its_own_timeout_and_the_connection_lives_on(
    pools: Switchboard, acme: Placement
) -> None:
    pid = await value(pools, acme, PID)
    with pytest.raises(StatementFailed) as failed:
        await run(pools, acme, ENDLESS, statement_timeout_s=0.05)

    assert failed.value.error.code == "57014"
    assert await value(pools, acme, PID) == pid


async def test_the_server_ends_a_statement_before_the_request_ends(
    pools: Switchboard, acme: Placement
) -> None:
    """So the caller hears Postgres's own word, and the connection lives on; once at least in so many tries.

    The server has a tenth of a second to say so, which a machine with other work may take away.
    """
    ends: list[TiergateError] = []
    pid: str | None = None
    while len(ends) < TRIES and not isinstance(ends[-1] if ends else None, StatementFailed):
        pid = await value(pools, acme, PID)
        with pytest.raises((StatementFailed, DeadlineExceeded)) as ended:
            await run(pools, acme, ENDLESS, within_s=0.5)
        ends.append(ended.value)

    assert isinstance(ends[-1], StatementFailed), ends
    assert ends[-1].error.code == "57014"
    assert await value(pools, acme, PID) == pid


async def test_no_statement_begins_when_too_little_time_is_left(pools: Switchboard, acme: Placement) -> None:
    pid = await value(pools, acme, PID)
    with pytest.raises(DeadlineExceeded) as late:
        await run(pools, acme, "INSERT INTO notes (id) VALUES (1)", within_s=0.05)

    assert late.value.stage == "queue"
    assert await value(pools, acme, PID) == pid


async def test_a_plan_gone_stale_is_made_anew_without_a_word(
    pools: Switchboard, acme: Placement, places: Places
) -> None:
    table = f"{acme.place.schema}.notes"
    await run(pools, acme, "INSERT INTO notes (id, body) VALUES (1, 'x')")
    batch = ["SELECT * FROM notes", "SELECT 1", "SELECT n.* FROM notes AS n", "SELECT * FROM notes"]
    pid = await value(pools, acme, PID)
    for width, column in ((4, "one"), (5, "two")):
        for _ in range(3):  # unnamed, prepared, by its name
            await run(pools, acme, *batch)
        async with open_admin(places.admin(acme.place)) as admin:
            await admin.execute(f"ALTER TABLE {table} ADD COLUMN {column} int".encode())
            await admin.execute(f"GRANT SELECT ({column}) ON {table} TO {acme.place.login}".encode())

        results = await run(pools, acme, *batch)
        assert [len(result.fields) for result in results] == [width, 1, width, width]
    assert await value(pools, acme, PID) == pid


async def test_names_beyond_the_limit_are_closed_at_the_server(acme: Placement, places: Places) -> None:
    few = pool_limits(replace(POOL, default_pool_size=1, max_prepared_statements=8))
    counted = (
        f"CREATE FUNCTION {acme.place.schema}.prepared() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT count(*) FROM pg_prepared_statements'"
    )
    async with open_admin(places.admin(acme.place)) as admin, open_pools(few) as pools:
        await admin.execute(counted.encode())
        for number in range(60):
            for _ in range(2):
                await run(pools, acme, f"SELECT {number}")
            assert int(await value(pools, acme, "SELECT prepared()") or 99) <= 8


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
async def test_any_limit_of_prepared_statements_works(acme: Placement, limit: int) -> None:
    few = pool_limits(replace(POOL, default_pool_size=1, max_prepared_statements=limit))
    async with open_pools(few) as pools:
        for number in range(30):
            results = await run(
                pools, acme, "SELECT 1", f"SELECT {number % 3}", "SELECT 1", f"SELECT {number % 3}"
            )

            assert [result.rows for result in results] == [[("1",)], [(str(number % 3),)]] * 2


async def test_a_statement_that_cannot_be_prepared_is_told_each_time(
    pools: Switchboard, acme: Placement
) -> None:
    for _ in range(5):
        with pytest.raises(StatementFailed) as failed:
            await run(pools, acme, "SELECT 1", "SELECT nope", "SELECT 2")

        assert (failed.value.index, failed.value.error.code) == (1, "42703")


@pytest.mark.parametrize("isolation", [None, Isolation.REPEATABLE_READ])
async def test_a_stale_route_is_told_with_what_the_fence_says(
    pools: Switchboard, acme: Placement, isolation: Isolation | None
) -> None:
    pid = await value(pools, acme, PID)
    for _ in range(3):
        with pytest.raises(StaleRoute) as stale:
            await run(
                pools,
                replace(acme, epoch=acme.epoch + 1),
                "INSERT INTO notes (id) VALUES (1)",
                isolation=isolation,
            )
        assert (stale.value.tenant, stale.value.fence_state) == (acme.tenant, "active")

    assert await value(pools, acme, PID) == pid
    assert await value(pools, acme, "SELECT count(*) FROM notes") == "0"


async def test_a_key_that_the_database_does_not_know_is_told_as_such(
    pools: Switchboard, acme: Placement
) -> None:
    with pytest.raises(ContextRefused):
        await run(pools, replace(acme, place=replace(acme.place, context_key=b"x" * 32)), "SELECT 1")

    assert await value(pools, acme, "SELECT 1") == "1"


async def test_a_tenants_lock_that_is_not_had_in_time_is_worth_another_try(
    pools: Switchboard, acme: Placement, places: Places
) -> None:
    """It was told as a signature that the database refused, for good."""
    async with await psycopg.AsyncConnection.connect(places.admin(acme.place)) as mover:
        login = acme.place.login
        await mover.execute(
            f"ALTER ROLE {login} IN DATABASE {acme.place.database} SET lock_timeout = '50ms'".encode()
        )
        await mover.commit()
        await mover.execute("SELECT pg_advisory_xact_lock(1413959000, hashtext(%s))", (acme.tenant,))
        with pytest.raises(DeadlineExceeded):
            await run(pools, acme, "SELECT 1")

    assert await value(pools, acme, "SELECT 1") == "1"


async def test_a_database_without_our_functions_is_unavailable_and_its_connection_nobodys(
    pools: Switchboard, acme: Placement, places: Places, heard: Heard
) -> None:
    async with open_admin(places.admin(acme.place)) as admin:
        await admin.execute(f"REVOKE tiergate_premium FROM {acme.place.login}".encode())
        await admin.execute(f"GRANT CONNECT ON DATABASE {acme.place.database} TO {acme.place.login}".encode())
    with pytest.raises(DatabaseUnavailable) as refused:
        await run(pools, acme, "SELECT 1")

    assert "42501" in refused.value.reason
    assert (await heard.wait_for(ConnectionClosed)).reason == "broken"
