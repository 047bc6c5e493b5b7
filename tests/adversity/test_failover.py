"""A primary dies and its standby takes over: stale reads go on, and writes come back by themselves."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.postgres import open_test_cluster, run_sql, server_folder, url_of
from tests.support.standby import hosts, kill_9, open_standby, promote
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

ACME = TENANTS[Tier.STANDARD]
ADD = "INSERT INTO members (email, name) VALUES ('{}@example.com', 'somebody')"
WRITERS = 4
BACK_S = 5.0  # after the promotion; on a busy machine


@dataclass(slots=True)
class Duo:
    """A gateway over one cluster, whose address names both of its servers."""

    gateway: Serving
    site: Site
    primary: Cluster
    standby: Cluster

    async def ask(self, query: str, *, staleness: str | None = None) -> httpx.Response:
        """Ask as the tenant."""
        headers = {"authorization": f"Bearer {self.site.keys[ACME]}"}
        if staleness is not None:
            headers["tiergate-max-staleness"] = staleness
        return await self.gateway.http.post(f"{self.gateway.url}/sql", json={"query": query}, headers=headers)


@dataclass(slots=True)
class Load:
    """Writers who go on whatever they are told; answers in the order in which they came."""

    duo: Duo
    acknowledged: set[str] = field(default_factory=set)
    refused: list[tuple[float, int, str | None]] = field(default_factory=list)
    longest_s: float = 0.0
    last_good_s: float = 0.0
    ends: bool = False

    async def write(self, name: str) -> None:
        number = 0
        while not self.ends:
            number += 1
            email, began = f"{name}-{number}", time.monotonic()
            answer = await self.duo.ask(ADD.format(email))
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - began)
            if answer.is_success:
                self.acknowledged.add(f"{email}@example.com")
                self.last_good_s = now
            else:
                self.refused.append((now, answer.status_code, answer.headers.get("tiergate-error")))
                await asyncio.sleep(0.02)


@pytest.fixture
async def duo() -> AsyncIterator[Duo]:
    with server_folder() as folder:
        async with (
            open_test_cluster() as registry,
            open_test_cluster() as primary,
            open_site(folder, url_of(registry.conninfo())) as site,
        ):
            await site.furnish({Tier.STANDARD: url_of(primary.conninfo())})
            async with open_standby(primary) as standby:
                both = make_conninfo(
                    hosts(primary, standby), user="postgres", password=primary.password, dbname="postgres"
                )
                soon = Deadline.after(30)
                await site.operations.set_address(Tier.STANDARD, both, actor="test", deadline=soon)
                await site.operations.add_replica(
                    Tier.STANDARD, "r1", standby.address, actor="test", deadline=soon
                )
                async with open_gateway(folder, site.registry_url) as gateway:
                    yield Duo(gateway, site, primary, standby)


async def test_no_acknowledged_write_is_lost_and_writes_come_back_with_the_promotion(duo: Duo) -> None:
    """With synchronous replication, as `synchronous_standby_names` makes it."""
    await run_sql(
        duo.primary.conninfo(),
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    )
    load = Load(duo)
    async with asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(load.write(f"w{number}"))
        await wait_until(lambda: len(load.acknowledged) > 50)
        kill_9(duo.primary)
        killed_s = time.monotonic()
        await wait_until(lambda: len(load.refused) > 5)
        await promote(duo.standby)
        promoted_s = time.monotonic()
        await wait_until(lambda: load.last_good_s > promoted_s, within_s=BACK_S)
        back_s = load.last_good_s - promoted_s
        before = len(load.acknowledged)
        await wait_until(lambda: len(load.acknowledged) > before + 20)
        load.ends = True
    kept = await run_sql(duo.standby.conninfo(), "SELECT email FROM app.members")
    print(  # noqa: T201 - the figures of the run, for who looks with -s
        f"killed to promoted {promoted_s - killed_s:.2f} s, back after {back_s:.2f} s, refused"
        f" {len(load.refused)}, longest {load.longest_s:.2f} s, acknowledged {len(load.acknowledged)}"
    )

    assert load.acknowledged <= {email for (email,) in kept}
    assert {code for _, _, code in load.refused} <= {"database-unavailable", "connection-lost"}
    assert max(at_s for at_s, _, _ in load.refused) - promoted_s < BACK_S
    assert load.longest_s < BACK_S


async def test_reads_survive_the_primary_for_as_long_as_they_accept(duo: Duo) -> None:
    count = "SELECT count(*) AS n FROM members"

    async def is_measured() -> bool:
        answer = await duo.ask(count, staleness="30")
        return bool(answer.headers["tiergate-served-by"] == "replica; name=r1")

    await wait_until(is_measured)
    kill_9(duo.primary)
    asked_s = time.monotonic()
    reads = [await duo.ask(count, staleness="30") for _ in range(50)]
    fresh_s = asked_s - float(reads[0].headers["tiergate-staleness"])
    plain = await duo.ask(count)

    assert {answer.status_code for answer in reads} == {200}
    assert {answer.headers["tiergate-served-by"] for answer in reads} == {"replica; name=r1"}
    assert plain.headers["tiergate-error"] == "database-unavailable"

    async def is_too_old() -> bool:
        return (await duo.ask(count, staleness="2")).status_code == 503

    await wait_until(is_too_old)
    assert time.monotonic() - fresh_s > 1.9  # two, and what rounding takes away
    last = await duo.ask(count, staleness="30")
    assert float(last.headers["tiergate-staleness"]) > 1.5


async def test_a_standby_alone_is_never_taken_for_the_cluster(duo: Duo) -> None:
    """A name that leads to the wrong server would show rows of any age to those who accept none."""
    await duo.ask("SELECT 1")
    wrong = make_conninfo(
        duo.standby.address, user="postgres", password=duo.standby.password, dbname="postgres"
    )
    await duo.site.operations.set_address(Tier.STANDARD, wrong, actor="test", deadline=Deadline.after(20))

    async def is_refused() -> bool:
        answer = await duo.ask("SELECT count(*) FROM members")
        return bool(answer.headers.get("tiergate-error") == "database-unavailable")

    await wait_until(is_refused)
    [failed] = [line["error"] for line in duo.gateway.said("dial-failed")][:1]
    assert "standby" in failed
