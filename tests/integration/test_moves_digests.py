"""What differs between the two ends is named, and nothing else is."""

from collections.abc import AsyncIterator

import pytest

from moves.digests import Compared, Key, compare_chunk, compare_keys, delta_differs, whole
from moves.passes import open_pass
from tests.support.moves_engine import Moving, Scribbler, open_moving, scribble
from tests.support.places import Places

ROWS = """
INSERT INTO people (tenant_id, email, seat, blob, ratio, tags)
SELECT {t}, 'p' || i, i, sha256(i::text::bytea), i / 3.0, ARRAY['a', NULL, '']
FROM generate_series(1, 40) AS i;
INSERT INTO seats SELECT {t}, i, i, i FROM generate_series(1, 20) AS i;
INSERT INTO one VALUES ({t}, NULL);
INSERT INTO "Odd %s ""words" SELECT {t}, w, w, 'wild', '2026-01-01', ''
FROM unnest('{Zebra,zebra,-a b,"a b"}'::text[]) AS w;
INSERT INTO events SELECT {t}, date '2025-12-20' + i, i, 'e' FROM generate_series(1, 24) AS i
"""


@pytest.fixture
async def moving(pair: tuple[Places, Places]) -> AsyncIterator[Moving]:
    async with open_moving(pair) as opened:
        await opened.watch()
        await opened.write(ROWS)
        await opened.copy()
        await opened.run_pass()
        yield opened


async def compare(moving: Moving, *, rows: int = 7) -> dict[str, set[Key]]:
    """Keys that differ by table, found piece by piece."""
    found: dict[str, set[Key]] = {}
    for table in moving.tables:
        after: Key | None = None
        while True:
            piece = await compare_chunk(moving.source, moving.target, moving.way, table, after, rows)
            if piece.differing:
                found.setdefault(table.name, set()).update(piece.differing)
            if (after := piece.after) is None:
                break
    return found


async def test_equal_ends_are_found_equal(moving: Moving) -> None:
    await scribble(moving.source, moving.way.source, Scribbler(moving.tenant, 21), 60)
    await moving.run_pass()

    assert await compare(moving) == {}


async def test_every_row_of_the_source_is_looked_at_once(moving: Moving) -> None:
    table, after, seen = moving.table("people"), None, 0
    pieces: list[Compared] = []
    while not pieces or after is not None:
        pieces.append(await compare_chunk(moving.source, moving.target, moving.way, table, after, 7))
        after, seen = pieces[-1].after, seen + pieces[-1].rows

    assert (len(pieces), seen) == (6, 40)


@pytest.mark.parametrize(
    ("damage", "table", "key"),
    [
        ("UPDATE people SET blob = set_bit(blob, 77, 1 - get_bit(blob, 77)) WHERE seat = 8", "people", None),
        ("UPDATE people SET ratio = ratio + 1e-15 WHERE seat = 1", "people", None),
        ("UPDATE people SET tags = ARRAY['a', '', ''] WHERE seat = 40", "people", None),
        ("UPDATE people SET note = '' WHERE seat = 40", "people", None),
        ("DELETE FROM seats WHERE id = 20", "seats", ("20",)),
        ("INSERT INTO seats VALUES ({t}, 21, 21, 21)", "seats", ("21",)),
        ("INSERT INTO seats VALUES ({t}, -5, 21, 21)", "seats", ("-5",)),
        ("UPDATE one SET body = ''", "one", ()),
        ("DELETE FROM one", "one", ()),
        ("UPDATE \"Odd %s \"\"words\" SET body = ' ' WHERE lang = '-a b'", 'Odd %s "words', None),
        ("DELETE FROM events WHERE id = 12", "events", ("2026-01-01", "12")),
    ],
)
async def test_a_planted_difference_is_named(
    moving: Moving, damage: str, table: str, key: Key | None
) -> None:
    before = await whole(
        moving.target, moving.tenant, moving.way.target.placement.place.schema, moving.table(table)
    )
    await moving.spoil(damage)

    found = await compare(moving)

    assert list(found) == [table]
    assert len(found[table]) == 1
    assert key is None or found[table] == {key}
    again = await compare_keys(
        moving.source,
        moving.target,
        moving.way,
        moving.table(table),
        [*found[table]] + ([("1",)] if table == "seats" else []),
    )
    assert set(again) == found[table]
    after = await whole(
        moving.target, moving.tenant, moving.way.target.placement.place.schema, moving.table(table)
    )
    assert after != before


async def test_a_generated_column_is_compared_too(moving: Moving) -> None:
    await moving.spoil(
        "ALTER TABLE people ALTER COLUMN twice DROP EXPRESSION; UPDATE people SET twice = 5 WHERE seat = 3"
    )

    assert len((await compare(moving))["people"]) == 1


async def test_what_is_late_is_equal_inside_the_next_pass(moving: Moving) -> None:
    await moving.write("UPDATE seats SET row_no = row_no + 100 WHERE tenant_id = {t} AND id <= 3")
    late = (await compare(moving))["seats"]

    async with open_pass(moving.source, moving.target, moving.way, moving.tables) as done:
        await moving.write_elsewhere("UPDATE seats SET row_no = 999 WHERE tenant_id = {t} AND id = 2")
        still = await compare_keys(
            moving.source, moving.target, moving.way, moving.table("seats"), sorted(late)
        )
        delta = await delta_differs(moving.source, moving.target, moving.way, moving.tables, done)

    assert late == {("1",), ("2",), ("3",)}
    assert (still, delta) == ((), ())


async def test_what_a_pass_brought_wrong_is_named(moving: Moving) -> None:
    await moving.write("UPDATE seats SET row_no = row_no + 100 WHERE tenant_id = {t} AND id <= 3")

    async with open_pass(moving.source, moving.target, moving.way, moving.tables) as done:
        await moving.spoil("UPDATE seats SET place = 77 WHERE tenant_id = {t} AND id = 2")
        found = await delta_differs(moving.source, moving.target, moving.way, moving.tables, done)

    assert [(each.table, each.key, each.key_text) for each in found] == [("seats", ("2",), "(2)")]


async def test_the_whole_of_a_table_has_one_digest_at_both_ends(moving: Moving) -> None:
    for table in moving.tables:
        here = await whole(moving.source, moving.tenant, moving.way.source.placement.place.schema, table)
        there = await whole(moving.target, moving.tenant, moving.way.target.placement.place.schema, table)

        assert here == there
        assert len(here) == 64
