"""Reads that accept staleness go to a standby that is fresh enough, and are never refused because of one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import open_test_cluster, run_sql, server_folder, url_of
from tests.support.standby import open_standby
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

COUNT = "SELECT count(*) AS n FROM members"
ADD = "INSERT INTO members (email, name) VALUES (gen_random_uuid() || '@example.com', 'somebody')"
AT_REPLICA = "replica; name=r1"
ENOUGH = "INSERT INTO members (email, name) VALUES ('enough@example.com', 'somebody')"
ENDLESS = """SELECT count(*) AS n FROM generate_series(1, 99999) AS a, generate_series(1, 99999) AS b
    WHERE NOT EXISTS (SELECT FROM members WHERE email = 'enough@example.com')"""
READING = "SELECT 1 FROM pg_stat_activity WHERE query ~ 'AS b\\s+WHERE NOT' AND pid <> pg_backend_pid()"
MET = "SELECT 1 FROM pg_stat_database_conflicts WHERE confl_lock > 0"


@dataclass(slots=True)
class Pair:
    """A gateway over one cluster of a tier with one replica.

    Attributes:
        tier: The cluster's name, too.
    """

    gateway: Serving
    site: Site
    tier: Tier
    primary: Cluster
    standby: Cluster

    async def read(
        self,
        query: str = COUNT,
        *,
        staleness: str | None = "60",
        isolation: str | None = None,
        lines: bool = False,
    ) -> httpx.Response:
        """Ask as the tenant, accepting staleness."""
        headers = {"authorization": f"Bearer {self.site.keys[TENANTS[self.tier]]}"}
        if lines:
            headers["accept"] = "application/x-ndjson"
        if staleness is not None:
            headers["tiergate-max-staleness"] = staleness
        body: dict[str, object] = {"query": query}
        if isolation is not None:
            headers["neon-batch-isolation-level"] = isolation
            body = {"queries": [body]}
        return await self.gateway.http.post(f"{self.gateway.url}/sql", json=body, headers=headers)

    async def count(self, staleness: str | None = "60") -> int:
        """How many members it reads."""
        answer = await self.read(staleness=staleness)
        return int(answer.json()["rows"][0]["n"])

    async def comes_from(self, served_by: str, *, staleness: str = "60") -> httpx.Response:
        """The first read that is served there."""
        answers: list[httpx.Response] = []

        async def is_so() -> bool:
            answers.append(await self.read(staleness=staleness))
            assert answers[-1].is_success, answers[-1].text
            return by(answers[-1]) == served_by

        await wait_until(is_so, what=f"a read served by {served_by}")
        return answers[-1]

    @asynccontextmanager
    async def held_back(self) -> AsyncIterator[None]:
        """Meanwhile the standby replays nothing."""
        await run_sql(self.standby.conninfo(), "SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            await run_sql(self.standby.conninfo(), "SELECT pg_wal_replay_resume()")


def by(response: httpx.Response) -> str | None:
    """Where it was read, by the answer's own words."""
    served_by: str | None = response.headers.get("tiergate-served-by")
    return served_by


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with open_test_cluster() as registry, open_site(folder, url_of(registry.conninfo())) as opened:
            yield opened


@pytest.fixture(scope="module", params=Tier)
async def pair(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Pair]:
    tier = Tier(request.param)
    async with open_test_cluster() as primary:
        await site.furnish({tier: url_of(primary.conninfo())})
        async with (
            open_standby(primary) as standby,
            open_gateway(site.folder, site.registry_url) as gateway,
        ):
            await site.operations.add_replica(
                tier, "r1", standby.address, actor="test", deadline=Deadline.after(20)
            )
            yield Pair(gateway, site, tier, primary, standby)


async def test_a_replica_is_read_as_long_as_it_is_fresh_enough(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    async with pair.held_back():
        before = await pair.count(staleness=None)
        assert (await pair.read(ADD, staleness=None)).is_success

        old = await pair.comes_from(AT_REPLICA)
        new = await pair.comes_from("primary", staleness="1")

        assert old.json()["rows"] == [{"n": str(before)}]
        assert new.json()["rows"] == [{"n": str(before + 1)}]
        assert old.headers["tiergate-route"] == f"tier={pair.tier}; cluster={pair.tier}"
        assert 0 < float(old.headers["tiergate-staleness"]) < 60
    again = await pair.comes_from(AT_REPLICA, staleness="1")
    assert again.json()["rows"] == [{"n": str(before + 1)}]


async def test_a_read_that_accepts_no_staleness_goes_to_the_cluster(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    async with pair.held_back():
        assert (await pair.read(ADD, staleness=None)).is_success

        plain, zero = await pair.read(staleness=None), await pair.read(staleness="0")

        assert plain.json()["rows"] == zero.json()["rows"] != (await pair.read()).json()["rows"]
        assert by(plain) is None
        assert (by(zero), zero.headers["tiergate-staleness"]) == ("primary", "0.000")


async def test_a_replica_of_a_cluster_where_nothing_happens_stays_fresh(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    ends_s = time.monotonic() + 3
    while time.monotonic() < ends_s:
        answer = await pair.read(staleness="2")

        assert by(answer) == AT_REPLICA
        assert float(answer.headers["tiergate-staleness"]) < 2


async def test_who_accepts_staleness_cannot_write_wherever_it_is_read(pair: Pair) -> None:
    refused = [await pair.read(ADD, staleness=staleness) for staleness in ("0", "60")]

    assert [(each.status_code, each.json()["code"]) for each in refused] == [(405, "25006")] * 2


@pytest.mark.parametrize("staleness", ["", "-1", "1s", "nan", "inf", "1e3", "5,6", "0x1", "9999999"])
async def test_what_is_no_number_of_seconds_is_refused(pair: Pair, staleness: str) -> None:
    refused = await pair.read(staleness=staleness)

    assert (refused.status_code, refused.headers["tiergate-error"]) == (400, "bad-header")
    assert "Tiergate-Max-Staleness" in refused.json()["message"]


async def test_what_fails_at_the_replica_is_read_at_the_cluster(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    async with pair.held_back():
        admin = pair.primary.conninfo(await database_of(pair))
        [(table,)] = await run_sql(
            admin, "SELECT oid::regclass::text FROM pg_class WHERE relname = 'members' AND relkind = 'r'"
        )
        await run_sql(
            admin,
            f"ALTER TABLE {table} ADD COLUMN late integer",
            f"GRANT SELECT (late) ON {table} TO PUBLIC",
        )

        answer = await pair.read("SELECT count(late) AS n FROM members")

        assert (answer.status_code, by(answer)) == (200, "primary")
        await run_sql(admin, f"ALTER TABLE {table} DROP COLUMN late")


async def test_a_read_that_replay_ends_is_read_at_the_cluster(pair: Pair) -> None:
    """It would take minutes at the standby, which has no time: somebody needs the table for himself."""
    await pair.comes_from(AT_REPLICA)
    admin, standby = pair.primary.conninfo(await database_of(pair)), pair.standby.conninfo()
    [(table,)] = await run_sql(
        admin, "SELECT oid::regclass::text FROM pg_class WHERE relname = 'members' AND relkind = 'r'"
    )
    await run_sql(standby, "ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()")
    endless = asyncio.create_task(pair.read(ENDLESS))

    try:
        await wait_until(lambda: run_sql(standby, READING), what="the read at the standby")
        assert (await pair.read(ENOUGH, staleness=None)).is_success
        await run_sql(admin, f"DO $$ BEGIN LOCK TABLE {table}; END $$")
        answer = await endless
        await wait_until(lambda: run_sql(standby, MET), what="the conflict at the standby")
    finally:
        endless.cancel()
        await run_sql(standby, "ALTER SYSTEM RESET max_standby_streaming_delay", "SELECT pg_reload_conf()")
        await pair.read("DELETE FROM members WHERE email = 'enough@example.com'", staleness=None)

    assert (answer.status_code, by(answer)) == (200, "primary")
    assert answer.json()["rows"] == [{"n": "0"}]


async def database_of(pair: Pair) -> str:
    placement = await pair.site.store.route(TENANTS[pair.tier])
    assert placement is not None
    return placement.place.database


async def test_streamed_reads_go_there_too_and_come_from_the_cluster_when_that_fails(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)

    there, wrong = await pair.read(lines=True), await pair.read("SELECT 1 / 0 AS n", lines=True)

    assert (by(there), there.text.splitlines()[-1]) == (AT_REPLICA, '{"committed":true}')
    assert (by(wrong), wrong.status_code, wrong.json()["code"]) == ("primary", 400, "22012")


async def test_serializable_reads_go_to_the_cluster(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)

    repeatable, serializable = [
        await pair.read(isolation=level) for level in ("RepeatableRead", "Serializable")
    ]

    assert (repeatable.status_code, by(repeatable)) == (200, AT_REPLICA)
    assert (serializable.status_code, by(serializable)) == (200, "primary")


async def test_a_replica_that_dies_costs_nobody_an_answer(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    port = pair.standby.port
    pair.standby.kill()
    try:
        answers = [await pair.read() for _ in range(20)]
        lost = await pair.gateway.hears("replica-lost")
    finally:
        await pair.standby.start(port)

    assert {each.status_code for each in answers} == {200}
    assert {by(each) for each in answers} == {"primary"}
    assert (lost["cluster"], lost["replica"]) == (pair.tier, "r1")
    await pair.comes_from(AT_REPLICA)


async def test_a_tenant_that_is_suspended_is_not_read_where_that_is_not_known_yet(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    name, operations = TENANTS[pair.tier], pair.site.operations
    async with pair.held_back():
        await operations.suspend(name, actor="test", deadline=Deadline.after(20))
        try:

            async def is_refused() -> bool:
                refused = await pair.read()
                return refused.headers.get("tiergate-error") is not None and refused.status_code == 403

            await wait_until(is_refused)
        finally:
            await operations.resume(name, actor="test", deadline=Deadline.after(20))


async def test_a_cluster_that_is_drained_is_not_read_at_its_replica(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    order = {"cluster": pair.tier, "wait_s": 20}
    told = await pair.gateway.ask_admin("POST", "/orders", {"verb": "drain", **order})
    try:
        refused = await pair.read()
    finally:
        await pair.gateway.ask_admin("POST", "/orders", {"verb": "resume", **order})

    assert told.json()["done"]
    assert (refused.status_code, refused.headers["tiergate-error"]) == (503, "drained")
    await pair.comes_from(AT_REPLICA)


async def test_metrics_say_where_reads_went_and_how_old_the_replica_is(pair: Pair) -> None:
    await pair.comes_from(AT_REPLICA)
    await pair.read(staleness="0")
    at_replica, too_stale = [
        await pair.gateway.metric("tiergate_stale_reads_total", tier=pair.tier, served_by=served_by)
        for served_by in ("replica", "too-stale")
    ]

    async def is_young() -> bool:
        age_s = await pair.gateway.metric(
            "tiergate_replica_staleness_seconds", cluster=pair.tier, replica="r1"
        )
        return 0 <= age_s < 2

    assert at_replica >= 1
    assert too_stale >= 1
    await wait_until(is_young, what="the age of what it shows")
