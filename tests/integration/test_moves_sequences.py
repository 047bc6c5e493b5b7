"""Numbers go on past the source's at the target, and never backwards."""

from collections.abc import AsyncIterator

import pytest

from moves.errors import MoveRefused
from moves.sequences import GAP, advance
from tests.support.moves_engine import Moving, open_moving
from tests.support.places import Places
from tiergate.tenant import Tier


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair, Tier.STANDARD) as opened:
        for write in (opened.write, opened.spoil):
            await write(
                "ALTER TABLE people ALTER COLUMN id RESTART SET INCREMENT 1 SET MAXVALUE 9000000000000000000"
            )
        yield opened


async def next_at_target(moving: Moving) -> int:
    cursor = await moving.target.execute("SELECT nextval(pg_get_serial_sequence('app.people', 'id'))")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def used(moving: Moving, number: int) -> int:
    await moving.write(f"SELECT setval(pg_get_serial_sequence('people', 'id'), {number})")
    return await advance(moving.source, moving.target, moving.way, moving.tables)


@pytest.mark.parametrize("number", [1, 500, 20_000, 5_000_000_000])
async def test_the_target_goes_on_past_the_source(moving: Moving, number: int) -> None:
    assert await used(moving, number) == 1

    assert await next_at_target(moving) == number + GAP + 1


async def test_a_sequence_that_nobody_has_used_is_left_alone(moving: Moving) -> None:
    assert await advance(moving.source, moving.target, moving.way, moving.tables) == 0

    assert await next_at_target(moving) == 1


@pytest.mark.parametrize("theirs", [100, 5000, 1_000_000])
async def test_a_target_in_use_never_goes_backwards(moving: Moving, theirs: int) -> None:
    await moving.spoil(f"SELECT setval(pg_get_serial_sequence('people', 'id'), {theirs})")

    await used(moving, 900)

    assert await next_at_target(moving) == max(theirs, 900 + GAP) + 1


async def test_advancing_again_changes_nothing(moving: Moving) -> None:
    await used(moving, 50)

    assert await advance(moving.source, moving.target, moving.way, moving.tables) == 0


async def test_a_sequence_that_counts_down_or_in_steps_is_followed(moving: Moving) -> None:
    for write in (moving.write, moving.spoil):
        await write("ALTER TABLE people ALTER COLUMN id SET INCREMENT 10")
    await moving.spoil("SELECT nextval(pg_get_serial_sequence('people', 'id'))")

    await used(moving, 205)

    assert await next_at_target(moving) >= 205 + 10 * GAP


async def test_near_its_end_a_sequence_has_no_gap(moving: Moving) -> None:
    for write in (moving.write, moving.spoil):
        await write("ALTER TABLE people ALTER COLUMN id SET MAXVALUE 1500")

    await used(moving, 700)

    assert await next_at_target(moving) == 701


async def test_who_has_used_up_half_of_the_numbers_does_not_take_them_from_everybody(moving: Moving) -> None:
    for write in (moving.write, moving.spoil):
        await write("ALTER TABLE people ALTER COLUMN id SET MAXVALUE 1500")

    with pytest.raises(MoveRefused, match="used up"):
        await used(moving, 900)

    assert await next_at_target(moving) == 1
