"""Every change of the moving tenant is logged, whoever makes it and however; nobody waits long for that."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from moves.capture import install, is_installed, remove
from moves.ends import open_end
from moves.errors import MoveSuperseded
from tests.support.moves_engine import Moving, anybody, open_moving
from tests.support.places import Places, open_pools, run
from tests.support.postgres import run_sql
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.tenant import Tier


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair) as opened:
        yield opened


async def logged(moving: Moving) -> list[tuple[str, list[str] | None]]:
    """What was logged since the last look, in order of table and key."""
    cursor = await moving.source.execute(
        "WITH gone AS (DELETE FROM tiergate.dirty WHERE move_id = %s RETURNING table_name, key)"
        " SELECT table_name, key FROM gone ORDER BY table_name, key",
        (moving.way.move,),
    )
    return [(name, key) for name, key in await cursor.fetchall()]


async def test_the_tenant_itself_is_logged_through_the_gateway(moving: Moving) -> None:
    await moving.watch()
    async with open_pools() as pools:
        await run(
            pools, moving.way.source.placement,
            "INSERT INTO seats (id, place) VALUES (1, 1), (2, 2)",
            "UPDATE seats SET id = 3 WHERE id = 2",
            "DELETE FROM seats WHERE id = 1",
        )  # fmt: skip

    assert await logged(moving) == [("seats", [number]) for number in ("1", "1", "2", "2", "3")]


async def test_a_change_that_is_rolled_back_is_not_logged(moving: Moving) -> None:
    await moving.watch()

    async with moving.source.transaction(force_rollback=True):
        await moving.source.execute("INSERT INTO app.one VALUES (%s, '')", (moving.tenant,))

    assert await logged(moving) == []


async def test_no_other_tenant_is_logged(moving: Moving) -> None:
    await moving.watch()

    await moving.write(
        "INSERT INTO seats VALUES ({t} || '-o', 1, 1, 1);"
        "UPDATE seats SET place = 5 WHERE tenant_id = {t} || '-o';"
        "DELETE FROM seats WHERE tenant_id = {t} || '-o'"
    )

    assert await logged(moving) == []


async def test_a_row_that_changes_hands_is_logged(moving: Moving) -> None:
    await moving.watch()

    await moving.write(
        "INSERT INTO seats VALUES ({t} || '-o', 1, 1, 1);"
        "UPDATE seats SET tenant_id = {t} WHERE tenant_id = {t} || '-o';"
        "UPDATE seats SET tenant_id = {t} || '-o' WHERE tenant_id = {t};"
        "DELETE FROM seats WHERE tenant_id = {t} || '-o'"
    )

    assert await logged(moving) == [("seats", ["1"]), ("seats", ["1"])]


async def test_keys_are_written_alike_whatever_the_session_says(moving: Moving) -> None:
    await moving.watch()
    odd = "SET LOCAL DateStyle = 'German'; SET LOCAL TimeZone = 'Asia/Tokyo';"

    await moving.write(
        odd
        + """INSERT INTO "Odd %s ""words" VALUES ({t}, '', 'a"b', 'calm', '2026-02-01 12:00:00.5+00', '')"""
    )

    assert await logged(moving) == [('Odd %s "words', ["", 'a"b', "calm", "2026-02-01 12:00:00.5+00"])]


async def test_cascades_upserts_and_partitions_are_logged(moving: Moving) -> None:
    await moving.write(
        "INSERT INTO seats VALUES ({t}, 1, 1, 1); INSERT INTO events VALUES ({t}, '2025-01-01', 1)"
    )
    await moving.write("INSERT INTO replies VALUES ({t}, '00000000-0000-0000-0000-000000000001', 1)")
    await moving.watch()

    await moving.write(
        "INSERT INTO seats VALUES ({t}, 1) ON CONFLICT (tenant_id, id) DO UPDATE SET place = 9;"
        "UPDATE events_old SET day = day + 1 WHERE tenant_id = {t};"
        "UPDATE events SET day = '2027-01-01' WHERE tenant_id = {t}; DELETE FROM seats WHERE tenant_id = {t}"
    )

    assert await logged(moving) == [
        ("events", ["2025-01-01", "1"]), ("events", ["2025-01-02", "1"]),
        ("events", ["2025-01-02", "1"]), ("events", ["2027-01-01", "1"]),
        ("replies", ["00000000-0000-0000-0000-000000000001"]), ("seats", ["1"]), ("seats", ["1"]),
    ]  # fmt: skip


@pytest.mark.parametrize("table", ["events", "events_new", "one"])
async def test_emptying_a_table_or_a_part_of_it_is_logged(moving: Moving, table: str) -> None:
    await moving.watch()

    await moving.write(f"TRUNCATE {table}")

    assert (table.partition("_")[0], None) in await logged(moving)


async def test_a_partition_that_comes_later_is_watched_too(moving: Moving) -> None:
    await moving.watch()

    await moving.write(
        "ALTER TABLE events DETACH PARTITION events_new;"
        "ALTER TABLE events ATTACH PARTITION events_new FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);"
        "INSERT INTO events VALUES ({t}, '2027-01-01', 1)"
    )

    assert await logged(moving) == [("events", ["2027-01-01", "1"])]


async def test_sessions_that_skip_triggers_are_logged_at_the_source_and_not_at_the_target(
    moving: Moving,
) -> None:
    await moving.watch()
    await moving.watch_back()

    for write in (moving.write, moving.spoil):
        await write("SET LOCAL session_replication_role = replica; INSERT INTO one VALUES ({t}, '')")

    assert (await moving.dirty(), await moving.dirty(back=True)) == (1, 0)


async def test_who_may_not_any_more_puts_no_trigger_that_nobody_would_remove(moving: Moving) -> None:
    schema = moving.way.source.placement.place.schema

    async def forbidden() -> None:
        raise MoveSuperseded(moving.way.move)

    with pytest.raises(MoveSuperseded):
        await install(
            moving.source, moving.way.move, moving.tenant, schema, moving.tables,
            always=True, allowed=forbidden,
        )  # fmt: skip

    left = await moving.source.execute(
        "SELECT FROM pg_proc"
        " WHERE pronamespace = 'tiergate_moves'::regnamespace AND starts_with(proname, %s)",
        (f"m{moving.way.move.replace('-', '')}",),
    )
    assert await left.fetchall() == []


async def test_who_stands_still_with_a_tables_lock_loses_it(moving: Moving) -> None:
    way, schema = moving.way, moving.way.source.placement.place.schema

    async with open_end(way.source, Deadline.after(60)) as still:
        pid = still.info.backend_pid

        async def is_gone() -> bool:
            cursor = await moving.source.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,))
            return await cursor.fetchone() is None

        async def stands_still() -> None:
            await wait_until(is_gone, what="the server to end the session")

        with pytest.raises(psycopg.Error, match="idle-in-transaction"):
            await install(
                still, way.move, moving.tenant, schema, moving.tables, always=True, allowed=stands_still
            )

    assert not await is_installed(moving.source, way.move, schema, moving.tables, always=True)


async def test_it_waits_for_writers_without_holding_others_up(moving: Moving) -> None:
    schema, watched = moving.way.source.placement.place.schema, [moving.table("seats")]
    async with (
        open_end(moving.way.source, Deadline.after(60)) as writer,
        open_end(moving.way.source, Deadline.after(60)) as other,
    ):
        async with writer.transaction():
            await writer.execute("INSERT INTO app.seats VALUES (%s, 1, 1, 1)", (moving.tenant,))
            installing = asyncio.create_task(
                install(
                    moving.source,
                    moving.way.move,
                    moving.tenant,
                    schema,
                    watched,
                    always=True,
                    allowed=anybody,
                )
            )
            await wait_until(lambda: is_waiting(moving), what="it asks for the lock")
            await other.execute("SELECT set_config('lock_timeout', '2s', false)")
            await other.execute("INSERT INTO app.seats VALUES ('other', 2, 2, 2)")

            assert not installing.done()
        await installing

    assert await is_installed(moving.source, moving.way.move, schema, watched, always=True)
    assert await moving.dirty() == 0


async def is_waiting(moving: Moving) -> bool:
    access = moving.way.source.access
    conninfo = f"{access.conninfo} user={access.user} password={access.password} dbname={access.database}"
    rows = await run_sql(
        conninfo, "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'app.seats'::regclass"
    )
    return bool(rows)


async def test_what_is_missing_is_seen_and_put_back(moving: Moving) -> None:
    schema = moving.way.source.placement.place.schema

    async def is_whole() -> bool:
        return await is_installed(moving.source, moving.way.move, schema, moving.tables, always=True)

    seen = [await is_whole()]
    await moving.watch()
    seen.append(await is_whole())
    trigger = f"m{moving.way.move.replace('-', '')}_update"
    await moving.write(f"ALTER TABLE seats ENABLE TRIGGER {trigger}")
    seen.append(await is_whole())
    await moving.watch()
    seen.append(await is_whole())
    await moving.write(f"DROP TRIGGER {trigger} ON seats")
    seen.append(await is_whole())
    await moving.watch()
    seen.append(await is_whole())

    assert seen == [False, True, False, True, False, True]


async def test_removal_leaves_nothing_and_touches_no_other_move(
    pair: tuple[Places, Places], moving: Moving
) -> None:
    schema = moving.way.source.placement.place.schema
    async with open_moving(pair, Tier.STANDARD) as other:
        for each in (moving, other):
            await each.watch()
            await each.write("INSERT INTO one VALUES ({t}, '')")
        await remove(moving.source, moving.way.move, schema)
        await remove(moving.source, moving.way.move, schema)
        await moving.write("UPDATE one SET body = 'x'")

        assert await moving.dirty() == 0
        assert await other.dirty() == 2
        assert await is_installed(other.source, other.way.move, schema, other.tables, always=True)
        cursor = await moving.source.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'tiergate_moves'::regnamespace"
        )
        of = other.way.move.replace("-", "")
        assert {row[0][1:33] for row in await cursor.fetchall()} == {of}
        await remove(other.source, other.way.move, schema)


async def test_a_tenant_can_neither_read_the_log_nor_run_what_writes_it(moving: Moving) -> None:
    await moving.watch()

    cursor = await moving.source.execute(
        "SELECT has_schema_privilege(%(login)s, 'tiergate_moves', 'USAGE'),"
        " has_table_privilege(%(login)s, 'tiergate.dirty', 'SELECT, INSERT, DELETE'),"
        " bool_or(has_function_privilege(%(login)s, oid, 'EXECUTE')),"
        " array_agg(DISTINCT proowner::regrole::text)"
        " FROM pg_proc WHERE pronamespace = 'tiergate_moves'::regnamespace",
        {"login": moving.way.source.placement.place.login},
    )

    assert await cursor.fetchone() == (False, False, False, ["tiergate_context"])
