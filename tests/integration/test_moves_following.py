"""No pass takes more than a bound, and what a pass brings is compared once everything has been."""

from collections.abc import AsyncIterator

import pytest

from moves import following
from moves.digests import Key, whole
from moves.errors import RowsDiffer
from moves.following import Suspects
from moves.ground import Ground
from moves.steps import nowhere
from tests.support.moves_engine import Moving, Scribbler, open_moving, scribble
from tests.support.places import Places
from tiergate.deadline import Deadline

SPOILS = """
CREATE FUNCTION spoils() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.body := 'spoilt'; RETURN NEW; END $$;
CREATE TRIGGER spoils BEFORE INSERT ON one FOR EACH ROW EXECUTE FUNCTION spoils();
ALTER TABLE one ENABLE ALWAYS TRIGGER spoils
"""
"""What is brought wrong, as by a mistake of the copier's."""


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair) as opened:
        await opened.watch()
        await opened.watch_back()
        await opened.copy()
        yield opened


@pytest.fixture
def ground(moving: Moving) -> Ground:
    return Ground(moving.way, moving.source, moving.target, moving.tables, nowhere)


def suspects(moving: Moving, table: str, *keys: Key) -> Suspects:
    return moving.table(table), keys


async def test_a_pass_takes_a_part_of_a_long_log_and_the_last_one_the_rest(
    moving: Moving, ground: Ground
) -> None:
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 25) AS i")

    passes = [await following.run_pass(ground, most=10) for _ in range(3)]

    assert [(each.keys, each.is_whole) for each in passes] == [(10, False), (10, False), (5, True)]
    assert await moving.differences() == {}


async def test_a_log_of_exactly_as_many_lines_is_known_to_be_done_a_pass_later(
    moving: Moving, ground: Ground
) -> None:
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 10) AS i")

    passes = [await following.run_pass(ground, most=10) for _ in range(2)]

    assert [(each.keys, each.is_whole) for each in passes] == [(10, False), (0, True)]


async def test_catching_up_goes_on_until_a_pass_was_whole(
    moving: Moving, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MOST_LINES", 7)
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 31), 60)
    lines = await moving.dirty()

    brought = await following.catch_up(ground)

    assert brought.is_whole
    assert lines > 7
    assert await moving.dirty() == 0
    assert await moving.differences() == {}


async def test_catching_up_ends_with_its_time_however_much_is_left(
    moving: Moving, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MOST_LINES", 7)
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 20) AS i")

    brought = await following.catch_up(ground, deadline=Deadline.after(0))

    assert (brought.keys, brought.is_whole) == (7, False)
    assert await moving.dirty() == 13


async def test_rows_that_exchange_unique_values_are_brought_whatever_the_bound(
    moving: Moving, ground: Ground
) -> None:
    await moving.write(
        "INSERT INTO people (tenant_id, email, seat) SELECT {t}, i::text, i FROM generate_series(1, 30) AS i"
    )
    await following.catch_up(ground)
    # Each takes what the one before it has given up: no part of them can be brought without the rest.
    await moving.write(
        "UPDATE people SET email = 'by way of ' || seat WHERE tenant_id = {t};"
        "UPDATE people SET email = (seat % 30 + 1)::text WHERE tenant_id = {t}"
    )

    brought = await following.run_pass(ground, most=5)

    assert (brought.keys, brought.is_whole) == (30, True)
    assert await moving.differences() == {}


async def test_of_a_pass_that_is_not_whole_nothing_is_said_about_other_rows(
    moving: Moving, ground: Ground
) -> None:
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 5) AS i")
    await following.catch_up(ground)
    await moving.write("UPDATE seats SET row_no = row_no + 100 WHERE tenant_id = {t}")
    every = suspects(moving, "seats", *((str(number),) for number in range(1, 6)))

    passes = [await following.run_pass(ground, every, most=2) for _ in range(3)]

    assert [each.is_whole for each in passes] == [False, False, True]


async def test_a_suspect_that_differs_is_named_by_the_pass_that_is_whole(
    moving: Moving, ground: Ground
) -> None:
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 5) AS i")
    await following.catch_up(ground)
    await moving.target.execute("SELECT set_config('session_replication_role', 'replica', false)")
    await moving.spoil("UPDATE seats SET place = 77 WHERE tenant_id = {t} AND id = 3")
    await moving.target.execute("SELECT set_config('session_replication_role', 'origin', false)")

    with pytest.raises(RowsDiffer, match=r"'seats', key \(3\)"):
        await following.catch_up(ground, suspects(moving, "seats", ("3",)))


@pytest.mark.parametrize("most", [1, None])
async def test_what_is_brought_wrong_after_the_proof_is_noticed(
    moving: Moving, ground: Ground, most: int | None
) -> None:
    await following.prove(ground)
    await moving.spoil(SPOILS)
    await moving.write("INSERT INTO one VALUES ({t}, 'x')")
    try:
        with pytest.raises(RowsDiffer, match="'one'"):
            await following.run_pass(ground, compares=True, most=most)

        assert await moving.dirty() == 1
        assert (await moving.rows(moving.way.target))["one"] == []
    finally:
        await moving.spoil("DROP TRIGGER spoils ON one; DROP FUNCTION spoils()")


async def test_what_is_brought_wrong_of_a_table_that_was_emptied_is_noticed(
    moving: Moving, ground: Ground
) -> None:
    await moving.spoil(SPOILS)
    await moving.write("TRUNCATE one; INSERT INTO one VALUES ({t}, 'x')")
    try:
        with pytest.raises(RowsDiffer, match="'one'"):
            await following.run_pass(ground, compares=True)
    finally:
        await moving.spoil("DROP TRIGGER spoils ON one; DROP FUNCTION spoils()")


async def test_the_proof_is_of_one_moment_whatever_is_written_meanwhile(
    moving: Moving, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moving.write("INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 5) AS i")

    async def after_a_write(*args: object) -> str:
        await moving.write_elsewhere("UPDATE seats SET row_no = row_no + 100 WHERE tenant_id = {t}")
        return await whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("moves.following.whole", after_a_write)
    proofs = await following.prove(ground)

    assert {proof.table: proof.rows for proof in proofs}["seats"] == 5
    assert {proof.table for proof in proofs} == {table.name for table in moving.tables}
    assert await moving.dirty() > 0
