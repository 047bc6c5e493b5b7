"""What goes with a tenant of a shared place is its own, and its own of then."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fleet import fence
from fleet.access import Connection
from fleet.removal import remove
from registry.placement import Placement
from tests.support.places import Places, open_places
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


async def test_a_row_at_the_same_spot_of_a_table_that_inherits_stays(places: Places) -> None:
    """A row's address is unique in its table alone."""
    gone, stays = [await places.create(Tier.STANDARD) for _ in range(2)]
    where = places.admin(gone.place)
    await run_sql(
        where,
        "CREATE TABLE app.papers (tenant_id text, id integer);"
        "CREATE TABLE app.older () INHERITS (app.papers);"
        f"INSERT INTO app.papers VALUES ('{gone.tenant}', 1), ('{stays.tenant}', 1);"
        f"INSERT INTO app.older VALUES ('{stays.tenant}', 2), ('{gone.tenant}', 2);",
    )
    await remove(places.access, gone, Deadline.after(60))
    left = await run_sql(where, "SELECT tenant_id, id FROM app.papers ORDER BY id")
    await run_sql(where, "DROP TABLE app.older, app.papers")

    assert left == [(stays.tenant, 1), (stays.tenant, 2)]


async def test_who_comes_again_under_the_same_name_loses_nothing_to_a_deletion_that_still_runs(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was taken for dead, and was completed by another."""
    late = await places.create(Tier.STANDARD)
    again = replace(late, epoch=late.epoch + 1_000)

    async def close_and_be_overtaken(connection: Connection, placement: Placement, drain_ms: int) -> bool:
        is_drained = await fence.close_for_good(connection, placement, drain_ms)
        await fence.insert_fence(connection, again)
        return is_drained

    monkeypatch.setattr("fleet.removal.close_for_good", close_and_be_overtaken)
    where = places.admin(late.place)
    await run_sql(where, f"INSERT INTO app.notes (tenant_id, id) VALUES ('{late.tenant}', 1)")
    await remove(places.access, late, Deadline.after(60), forgets=True)

    assert await run_sql(where, f"SELECT id FROM app.notes WHERE tenant_id = '{late.tenant}'") == [(1,)]
    assert await run_sql(where, f"SELECT epoch FROM tiergate.fence WHERE tenant_id = '{late.tenant}'") == [
        (again.epoch,)
    ]
