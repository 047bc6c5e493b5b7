"""A copy goes on where it was, in every order of keys, and round what has changed meanwhile."""

from collections.abc import AsyncIterator

import pytest
from psycopg import errors as pg

from moves.copying import Copied, copied, copy_chunk
from moves.digests import compare_chunk
from tests.support.moves_engine import Moving, open_moving, rows_read
from tests.support.places import Places

SEATS = "INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 10) AS i"


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair) as opened:
        yield opened


async def chunk(moving: Moving, table: str, rows: int) -> tuple[int, bool]:
    done = await copy_chunk(moving.source, moving.target, moving.way, moving.table(table), rows=rows)
    return done.rows, done.is_last


async def test_each_chunk_begins_where_the_target_says_the_last_one_ended(moving: Moving) -> None:
    await moving.write(SEATS)
    await moving.watch()

    chunks = [await chunk(moving, "seats", 4) for _ in range(4)]

    assert chunks == [(4, False), (4, False), (2, True), (0, True)]
    progress = (await copied(moving.target, moving.way))["seats"]
    assert progress == Copied(10, progress.size_bytes, is_done=True)
    assert progress.size_bytes > 100
    assert await moving.differences() == {}


async def test_a_chunk_that_fails_leaves_neither_rows_nor_progress(moving: Moving) -> None:
    await moving.write(SEATS)
    await moving.watch()
    await chunk(moving, "seats", 4)
    await moving.spoil("ALTER TABLE seats ADD CONSTRAINT never CHECK (id <> 8)")

    with pytest.raises(pg.CheckViolation):
        await chunk(moving, "seats", 4)

    assert (await copied(moving.target, moving.way))["seats"].rows == 4
    await moving.spoil("ALTER TABLE seats DROP CONSTRAINT never")
    await moving.copy()
    assert await moving.differences() == {}


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
async def test_keys_of_any_kind_and_order_are_copied_once(moving: Moving, rows: int) -> None:
    words = (
        "'-a b', 'a b', 'ab', 'Ab', 'zebra', 'Zebra', '', ' ', 'ä', E'\\\\', E'\\t', '100%', '{}', '''', '\"'"
    )
    await moving.write(
        f"""INSERT INTO "Odd %s ""words" SELECT {{t}}, w, w || w, m, day, NULL
        FROM unnest(ARRAY[{words}]) AS w, unnest(enum_range(NULL::mood)) AS m,
        unnest('{{-infinity,2026-01-01,infinity}}'::timestamptz[]) AS day"""
    )

    await moving.copy(rows=rows)

    assert await moving.differences() == {}
    assert (await copied(moving.target, moving.way))['Odd %s "words'].rows == 15 * 3 * 3


async def test_a_table_whose_key_is_the_tenant_is_one_chunk(moving: Moving) -> None:
    await moving.write("INSERT INTO one VALUES ({t}, 'x'), ('somebody', 'y')")

    assert await chunk(moving, "one", 5) == (1, True)


@pytest.mark.parametrize("column", ["place", "row_no"])
async def test_a_unique_value_that_wandered_stops_nothing(moving: Moving, column: str) -> None:
    """Deferrable ones are not even looked at in a mover's session; the exclusion constraint is."""
    await moving.write(SEATS)
    await moving.watch()
    await chunk(moving, "seats", 5)
    await moving.write(f"UPDATE seats SET {column} = 100 WHERE tenant_id = {{t}} AND id = 2")
    await moving.write(f"UPDATE seats SET {column} = 2 WHERE tenant_id = {{t}} AND id = 9")

    await chunk(moving, "seats", 5)
    await moving.copy()
    await moving.run_pass()

    assert await moving.differences() == {}


async def test_a_unique_index_value_that_wandered_stops_nothing(moving: Moving) -> None:
    await moving.write("INSERT INTO people (tenant_id, email) SELECT {t}, i FROM generate_series(1, 10) AS i")
    await moving.watch()
    await chunk(moving, "people", 5)
    ids = "(SELECT min(id) + {} FROM people WHERE tenant_id = {{t}})"
    await moving.write(
        f"UPDATE people SET email = 'x' WHERE id = {ids.format(2)};"
        f"UPDATE people SET email = '3' WHERE id = {ids.format(8)};"
        f"UPDATE people SET note = 'changed as well' WHERE id = {ids.format(7)}"
    )

    assert await chunk(moving, "people", 5) == (3, False)
    await moving.copy()
    await moving.run_pass()

    assert await moving.differences() == {}


async def test_rows_that_a_pass_has_brought_already_are_left_out_and_looked_at_again(moving: Moving) -> None:
    await moving.write(SEATS)
    await moving.watch()
    await chunk(moving, "seats", 5)
    await moving.write("UPDATE seats SET row_no = 10 * id WHERE tenant_id = {t} AND id IN (7, 9)")
    await moving.run_pass()

    assert await chunk(moving, "seats", 5) == (3, False)
    assert await moving.dirty() == 2
    await moving.copy()
    await moving.run_pass()

    assert await moving.differences() == {}


async def test_a_strange_row_in_the_way_is_not_overlooked(moving: Moving) -> None:
    await moving.write(SEATS)
    await moving.watch()
    await moving.spoil("INSERT INTO seats VALUES ({t}, 77, 3, 3)")

    with pytest.raises(pg.ExclusionViolation):
        await moving.copy()


async def test_no_piece_reads_all_rows_though_statistics_do_not_know_the_tenant(
    pair: tuple[Places, Places],
) -> None:
    """Each did, of the copy and of the proof: a large tenant took the square of its rows."""
    async with open_moving(pair) as moving:
        await moving.take_unknown_seats(3000)
        before = await rows_read(moving.source, "seats")
        await moving.copy(rows=100)
        copied = await rows_read(moving.source, "seats")
        after, seats = None, moving.table("seats")
        while True:
            found = await compare_chunk(moving.source, moving.target, moving.way, seats, after, 100)
            assert found.differing == ()
            if (after := found.after) is None:
                break
        compared = await rows_read(moving.source, "seats")

    assert copied - before <= 4 * 3000
    assert compared - copied <= 4 * 3000
