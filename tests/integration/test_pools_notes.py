"""A comment of ours behind a statement: the server sees it, and what is prepared is left alone."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from pools.statement import fence
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import POOL, Places, open_places, open_pools, pool_limits, run
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

TEXTS = ["SELECT 1 AS one", "SELECT 2 AS two"]
SEEN = "SELECT current_query()"


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


def note(number: int) -> bytes:
    """Another one each time, as a trace's is."""
    return b" /*traceparent='00-%032x-%016x-01'*/" % (number, number)


@pytest.mark.parametrize(
    "text", [SEEN, f"{SEEN};", f"{SEEN} -- of the caller\n", f"{SEEN} /* of the caller */"]
)
async def test_the_server_sees_the_note_behind_the_statement(places: Places, text: str) -> None:
    placement = await places.create(Tier.STANDARD)
    async with open_pools() as switchboard:
        ((seen,),) = (await run(switchboard, placement, text, note=note(7)))[0].rows

    assert seen is not None
    assert seen.endswith(text + note(7).decode())


async def prepared(switchboard: Switchboard, placement: Placement) -> list[str]:
    """Which of the texts are prepared on the only connection."""
    async with switchboard.lease(placement, Deadline.after(30)) as lease:
        wire = lease._wire
        assert wire is not None
        return [text for text in TEXTS if wire.is_prepared(fence(text).sql)]


async def test_statements_with_notes_are_not_prepared_and_put_no_prepared_one_out(places: Places) -> None:
    placement = await places.create(Tier.STANDARD)
    few = pool_limits(replace(POOL, default_pool_size=1, max_prepared_statements=8))
    async with open_pools(few) as switchboard:
        for _ in range(2):
            await run(switchboard, placement, TEXTS[0])
        for number in range(1, 40):
            for text in TEXTS:
                await run(switchboard, placement, text, note=note(number))

        assert await prepared(switchboard, placement) == TEXTS[:1]


async def test_a_text_that_came_with_a_note_has_not_earned_a_name(places: Places) -> None:
    placement = await places.create(Tier.STANDARD)
    async with open_pools(pool_limits(replace(POOL, default_pool_size=1))) as switchboard:
        found = []
        for noted in (note(1), note(2), b"", b""):
            await run(switchboard, placement, TEXTS[0], note=noted)
            found.append(await prepared(switchboard, placement))

    assert found == [[], [], [], TEXTS[:1]]
