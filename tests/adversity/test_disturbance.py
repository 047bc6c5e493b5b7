"""What one tenant does to take a server's time, memory, locks or disk: cut, and its neighbour is served."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pools.errors import ResponseTooLarge, StatementFailed
from pools.lease import Isolation
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.adversity.conftest import Admin
from tests.support.places import (
    ENDLESS,
    POOL,
    Places,
    login_of,
    open_pools,
    pool_limits,
    run,
    sessions,
    until,
)
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

MEGABYTE = 1 << 20


@pytest.fixture
async def pools() -> AsyncIterator[Switchboard]:
    async with open_pools(pool_limits(replace(POOL, default_pool_size=3, max_tenant_inflight=2))) as opened:
        yield opened


@pytest.fixture
async def attacker(places: Places) -> Placement:
    return await places.create(Tier.STANDARD)


@pytest.fixture
async def victim(places: Places, pools: Switchboard) -> Placement:
    placement = await places.create(Tier.STANDARD)
    await run(pools, placement, "INSERT INTO notes (id, body) VALUES (1, 'mine')")
    return placement


async def is_served(pools: Switchboard, who: Placement) -> bool:
    """Whether a write and a read of *who* succeed within their ordinary time."""
    results = await run(
        pools, who, "UPDATE notes SET body = 'mine' RETURNING body", "SELECT body FROM notes", within_s=10
    )
    return [result.rows for result in results] == [[("mine",)], [("mine",)]]


ENDLESS_WORK = {
    "recursion": ENDLESS,
    "a series": "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "a product": "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "a sort": "SELECT g FROM generate_series(1, 100000000) AS g ORDER BY md5(g::text) LIMIT 1",
    "regular expressions": "SELECT count(*) FROM generate_series(1, 100000000) AS i"
    " WHERE repeat('a', 1000) || i ~ '(a|aa)*(a|aa)*b'",
    "a JSON path": "SELECT jsonb_path_exists(jsonb_agg(i), '$[*] ? (@ == $[*] && @ < 0)')"
    " FROM generate_series(1, 100000) AS i",
    "an aggregate": "SELECT length(string_agg(repeat('x', 1000), '')) FROM generate_series(1, 10000000)",
    "numbers": "SELECT sum(power(1.000001::numeric(1000, 500), i)) FROM generate_series(1, 1000000) AS i",
    "a window": "SELECT count(*) OVER (ORDER BY i ROWS UNBOUNDED PRECEDING)"
    " FROM generate_series(1, 1000000000) AS i",
    "own rows, locked": "WITH a AS (SELECT 1 FROM notes FOR UPDATE)"
    " SELECT count(*) FROM a, generate_series(1, 1000000000)",
    "text search": "SELECT count(*) FROM generate_series(1, 100000000) AS i"
    " WHERE to_tsvector('english', repeat('cats ' || i, 100)) @@ 'dog'",
}


@pytest.mark.parametrize("text", ENDLESS_WORK.values(), ids=ENDLESS_WORK.keys())
async def test_work_without_end_is_cut_while_the_neighbour_is_served(
    pools: Switchboard, attacker: Placement, victim: Placement, text: str
) -> None:
    await run(pools, attacker, "INSERT INTO notes (id, body) VALUES (1, 'theirs')")
    attacks = [
        asyncio.create_task(run(pools, attacker, text, statement_timeout_s=0.7, within_s=8)) for _ in range(3)
    ]
    served = await is_served(pools, victim)
    ends = await asyncio.gather(*attacks, return_exceptions=True)

    assert served
    for end in ends:
        assert isinstance(end, StatementFailed)
        assert end.error.code in {"57014", "54000"}  # 54000: a text of 1 GB is refused before its time
    assert await is_served(pools, victim)


MANY = "FROM generate_series(1, 1000000) AS g"
TOO_MUCH = {
    "a deep expression": ("SELECT " + "(" * 5000 + "1" + ")" * 5000, {"42601", "54001", "ok"}),
    "many additions": ("SELECT " + "1+" * 30000 + "1", {"54001", "ok"}),
    "many columns": ("SELECT " + ",".join(["1"] * 1665), {"54011"}),
    "a huge repetition": ("SELECT repeat('x', 2000000000)", {"54000"}),
    "a huge array": ("SELECT array_fill(1, ARRAY[2000000000])", {"54000"}),
    "a nested repetition": ("SELECT 'x' ~ '((((x{1,200}){1,200}){1,200}){1,200})'", {"2201B"}),
    "deep JSON": ("SELECT (repeat('[', 1000000) || repeat(']', 1000000))::jsonb", {"54001"}),
    "a table of its own": ("SELECT 1 INTO TEMP mine", {"42501"}),
    "a lock flood": (f"SELECT count(pg_advisory_lock(g)) {MANY}", {"42501"}),
    "another lock flood": (f"SELECT count(pg_advisory_xact_lock(g)) {MANY}", {"42501"}),
    "a notification flood": (f"SELECT count(pg_notify('a', g::text)) {MANY}", {"42501"}),
    "another's cancel": (f"SELECT pg_cancel_backend(g) {MANY}", {"42501"}),
    "another's end": (f"SELECT pg_terminate_backend(g) {MANY}", {"42501"}),
    "numbers of transactions": (f"SELECT count(pg_current_xact_id()) {MANY}", {"42501"}),
    "numbers of a sequence": (f"SELECT count(nextval('x')) {MANY}", {"42501", "42P01"}),
    "large objects": (f"SELECT count(lo_creat(-1)) {MANY}", {"42501"}),
    "the log of writes": ("SELECT pg_logical_emit_message(false, 'x', repeat('x', 9999))", {"42501"}),
    "no timeout": ("SELECT set_config('statement_timeout', '0', true)", {"42501"}),
}


@pytest.mark.parametrize(("text", "codes"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
async def test_what_asks_too_much_is_refused_at_once(
    pools: Switchboard, attacker: Placement, victim: Placement, text: str, codes: set[str]
) -> None:
    try:
        await run(pools, attacker, text, statement_timeout_s=5, within_s=8)
        told = "ok"
    except StatementFailed as failed:
        told = failed.error.code

    assert told in codes
    assert await is_served(pools, victim)


async def test_no_statement_of_a_batch_lives_longer_than_the_request(
    pools: Switchboard, attacker: Placement, victim: Placement
) -> None:
    """Each has the statement's time; all together have the request's."""
    naps = ["SELECT count(*) FROM generate_series(1, 3000000)"] * 100
    attack = asyncio.create_task(run(pools, attacker, *naps, within_s=1.5, statement_timeout_s=1))

    assert await is_served(pools, victim)
    with pytest.raises(Exception, match=r"time ended|timeout"):
        await attack


@pytest.mark.parametrize(
    "text", ["SELECT id FROM notes FOR UPDATE", "UPDATE notes SET body = 'theirs'", "DELETE FROM notes"]
)
async def test_locks_on_own_rows_are_in_nobodys_way(
    pools: Switchboard, attacker: Placement, victim: Placement, text: str
) -> None:
    await run(pools, attacker, "INSERT INTO notes (id) SELECT generate_series(1, 5000)")
    attack = asyncio.create_task(
        run(
            pools, attacker, text, ENDLESS,
            isolation=Isolation.SERIALIZABLE, statement_timeout_s=2, max_bytes=10 * MEGABYTE,
        )
    )  # fmt: skip
    served = [await is_served(pools, victim) for _ in range(5)]

    assert served == [True] * 5
    with pytest.raises(StatementFailed, match="statement timeout"):
        await attack


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


class Watch:
    """The most memory that this process has had while it was watched."""

    def __init__(self) -> None:
        self.before_mb = self.most_mb = resident_mb()

    async def look(self) -> None:
        while True:
            self.most_mb = max(self.most_mb, resident_mb())
            await asyncio.sleep(0.002)

    @property
    def grown_mb(self) -> float:
        return self.most_mb - self.before_mb


@pytest.mark.parametrize(
    "text",
    [
        "SELECT repeat('x', 1000) FROM generate_series(1, 10000000)",
        "SELECT repeat('x', 100000) FROM generate_series(1, 100000)",
        "SELECT repeat('x', 300000000)",
        "SELECT repeat('x', 150000000), repeat('y', 150000000)",
        "SELECT repeat('x', 200000000)::int",
    ],
    ids=["10 GB in rows", "10 GB in long rows", "a value of 300 MB", "a row of 300 MB", "an error of 200 MB"],
)
async def test_an_answer_of_any_size_costs_the_gateway_little_more_than_its_limit(
    pools: Switchboard, attacker: Placement, victim: Placement, text: str
) -> None:
    await is_served(pools, victim)
    watch = Watch()
    watching = asyncio.create_task(watch.look())
    attack = asyncio.create_task(run(pools, attacker, text, max_bytes=10 * MEGABYTE))
    assert await is_served(pools, victim)
    with pytest.raises(ResponseTooLarge):
        await attack
    watching.cancel()

    # 10 MB as the driver holds them, what the kernel held ready, and the heap of the first such answer.
    assert watch.grown_mb < 64
    assert await is_served(pools, victim)


async def test_as_many_and_as_large_parameters_as_go_are_taken(
    pools: Switchboard, attacker: Placement, victim: Placement
) -> None:
    array = b"{" + b",".join([b"1"] * 2_000_000) + b"}"
    attack = asyncio.create_task(
        run(pools, attacker, Statement("SELECT sum(x) FROM unnest($1::int[]) AS x", (array,)))
    )

    assert await is_served(pools, victim)
    assert (await attack)[0].rows == [("2000000",)]


async def test_what_nobody_waits_for_any_more_ends_soon(admin: Admin, places: Places) -> None:
    """A gateway that died went on to cost: each statement of its pipeline had its whole time."""
    login = (await places.create(Tier.GOVERNMENT)).place
    gone = await psycopg.AsyncConnection.connect(login_of(login))
    gone.pgconn.send_query(ENDLESS.encode())
    gone.pgconn.flush()

    async def works() -> bool:
        return bool(await sessions(admin, login.login))

    async def is_over() -> bool:
        return not await works()

    await until(works)
    await gone.close()
    await until(is_over, within_s=10)


async def test_an_error_of_any_size_leaves_the_servers_log_as_it_is(
    postgres: Cluster, pools: Switchboard, attacker: Placement
) -> None:
    log = postgres.folder / "server.log"
    before, mark = log.stat().st_size, secrets.token_hex(8)
    for text in (f"SELECT (repeat('x', 10000000) || '{mark}')::int", f"SELECT '{mark}' {'x' * 100000} nope"):
        with pytest.raises(StatementFailed):
            await run(pools, attacker, text)

    assert log.stat().st_size - before < 100_000
    assert mark not in log.read_text(errors="replace")
