"""Whatever one request does or suffers, the next one on that connection sees nothing of it.

One connection to each place, so that the server process that served the attacker would serve the
victim. The fence is left out on purpose: what is proved is that the pool notices by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from pools import lease
from pools.errors import ConnectionLost, StatementFailed
from pools.statement import Fenced, Reach, Renaming
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.adversity.conftest import Admin
from tests.support.places import (
    POOL,
    Places,
    open_admin,
    open_pools,
    pool_limits,
    run,
    sessions,
    value,
)
from tiergate.tenant import Tier

PID = "SELECT pg_backend_pid()"
SESSION = """
SELECT tiergate.tenant(), session_user, current_user, current_setting('role'),
    current_setting('made.up', true) IS NULL,
    (SELECT md5(string_agg(name || '=' || setting, ',' ORDER BY name)) FROM pg_settings)
"""


@pytest.fixture
async def pools() -> AsyncIterator[Switchboard]:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=1))) as opened:
        yield opened


@pytest.fixture
def unfenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line is down: any statement reaches the server as it is."""

    def as_it_is(text: str, _renaming: Renaming, _reach: Reach) -> Fenced:
        return Fenced(text.encode(), ())

    monkeypatch.setattr(lease, "fence", as_it_is)


@dataclass(frozen=True, slots=True)
class Duel:
    """Who asks first and who asks next; one tenant's two requests where a pool is the tenant's own."""

    attacker: Placement
    victim: Placement


@pytest.fixture(params=list(Tier))
async def duel(places: Places, request: pytest.FixtureRequest) -> Duel:
    attacker = await places.create(request.param)
    return Duel(attacker, await places.create(Tier.STANDARD) if request.param is Tier.STANDARD else attacker)


async def look(pools: Switchboard, who: Placement) -> list[tuple[str | None, ...]]:
    [result] = await run(pools, who, SESSION, statement_timeout_s=5)
    return result.rows


async def attempt(pools: Switchboard, who: Placement, *texts: str) -> str:
    """How the attack ended: what it ran, or the SQLSTATE."""
    try:
        return " ".join(result.command_tag for result in await run(pools, who, *texts))
    except StatementFailed as failed:
        return failed.error.code
    except ConnectionLost:
        return "lost"


PLANTS = [
    "SET work_mem = '77MB'", "SET LOCAL work_mem = '77MB'", "SET made.up = 'x'",
    "SET search_path = pg_catalog", "SET TIME ZONE 'Asia/Tokyo'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET statement_timeout = 0", "SET SESSION AUTHORIZATION DEFAULT", "RESET ROLE", "SHOW work_mem",
    "PREPARE theirs AS SELECT 'mine'", "DEALLOCATE ALL", "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN somebody", "NOTIFY somebody", "UNLISTEN *", "LOCK TABLE notes",
    "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "BEGIN", "SAVEPOINT s", "SET CONSTRAINTS ALL IMMEDIATE",
    "COPY (SELECT 1) TO STDOUT", "",
]  # fmt: skip


@pytest.mark.usefixtures("unfenced")
@pytest.mark.parametrize("ends", ["well", "in an error"])
@pytest.mark.parametrize("plant", PLANTS)
async def test_a_connection_that_ran_another_command_serves_nobody_else(
    pools: Switchboard, duel: Duel, plant: str, ends: str
) -> None:
    """A batch that failed was not looked at: what PREPARE or DEALLOCATE had done stayed on the connection."""
    seen, pid = await look(pools, duel.victim), await value(pools, duel.victim, PID)
    assert await value(pools, duel.attacker, PID) == pid
    told = await attempt(pools, duel.attacker, plant, *(["SELECT 1 / 0"] if ends == "in an error" else []))

    assert told != "42501"
    assert await look(pools, duel.victim) == seen
    assert await value(pools, duel.victim, PID) != pid


REFUSED = [
    "CREATE TEMP TABLE notes (id int)", "SELECT 1 INTO TEMP made", "DO $$ BEGIN END $$", "CREATE SCHEMA mine",
    "SET session_replication_role = replica", "SET ROLE postgres",
    "SELECT set_config('work_mem', '77MB', false)", "SELECT pg_advisory_lock(1)", "SELECT setseed(0.5)",
    "SELECT lastval()", "SELECT pg_notify('somebody', '')", "SELECT lo_creat(-1)",
    "SELECT pg_logical_emit_message(false, 'a', 'b')", "SELECT pg_export_snapshot()",
    "UPDATE pg_settings SET setting = '77MB' WHERE name = 'work_mem'",
]  # fmt: skip


@pytest.mark.usefixtures("unfenced")
@pytest.mark.parametrize("plant", REFUSED)
async def test_what_the_database_refuses_leaves_nothing_either(
    pools: Switchboard, duel: Duel, admin: Admin, plant: str
) -> None:
    seen = await look(pools, duel.victim)
    told = await attempt(pools, duel.attacker, plant)

    assert told == "42501"
    assert await look(pools, duel.victim) == seen
    mine = list(await sessions(admin, duel.victim.place.login))
    held = await admin.execute("SELECT FROM pg_locks WHERE pid = ANY(%s)", (mine,))
    assert held.rowcount == 0


@pytest.mark.usefixtures("unfenced")
async def test_a_prepared_statement_cannot_be_put_in_the_place_of_the_next_tenants(
    pools: Switchboard, duel: Duel
) -> None:
    """SQL's PREPARE and the protocol's names are one space, and no rollback gives a name back."""
    text = "SELECT 'the victim''s own'"
    for _ in range(2):
        assert await value(pools, duel.victim, text) == "the victim's own"
    hijack = [f"PREPARE tg{number} AS SELECT 'evil'" for number in range(1, 20)]
    await attempt(pools, duel.attacker, "DEALLOCATE ALL", *hijack, "SELECT 1 / 0")

    assert await value(pools, duel.victim, text) == "the victim's own"


async def test_a_server_that_begins_to_copy_stops_nobody(
    pools: Switchboard, places: Places, duel: Duel, unfenced: None
) -> None:
    """For ever the driver says so anew; the event loop of the whole gateway stood still."""
    other = await places.create(Tier.PREMIUM)
    attack = asyncio.create_task(attempt(pools, duel.attacker, "COPY (SELECT 1) TO STDOUT", "SELECT 1"))

    assert await value(pools, other, "SELECT 1") == "1"
    assert await attack == "lost"
    assert await value(pools, duel.victim, "SELECT 1") == "1"


REMEMBER = """
CREATE FUNCTION {0}.remember() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET made.up = 'attacker'; SET work_mem = '77MB'; SET TIME ZONE 'Asia/Tokyo'; SET statement_timeout = 0;
    RETURN 'done';
END $$;
ALTER FUNCTION {0}.remember() OWNER TO tiergate_owner;
"""


async def test_what_a_function_of_the_application_sets_ends_with_the_transaction(
    pools: Switchboard, places: Places, duel: Duel
) -> None:
    """Its author forgot LOCAL; the command is SELECT, so nothing in the answer tells."""
    place = duel.attacker.place
    async with open_admin(places.admin(place)) as admin:
        await admin.execute("SET check_function_bodies = off")
        exists = await admin.execute(f"SELECT to_regproc('{place.schema}.remember')".encode())
        if (await exists.fetchone() or (None,))[0] is None:
            await admin.execute(REMEMBER.format(place.schema).encode())
    seen, pid = await look(pools, duel.victim), await value(pools, duel.victim, PID)
    assert await value(pools, duel.attacker, "SELECT remember()") == "done"

    [[*after]] = await look(pools, duel.victim)
    assert after[:4] + after[5:] == [*seen[0][:4], *seen[0][5:]]
    assert await value(pools, duel.victim, "SELECT current_setting('made.up')") == ""
    assert await value(pools, duel.victim, PID) == pid
