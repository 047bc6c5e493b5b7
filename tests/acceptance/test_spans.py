"""What a receiver of OpenTelemetry is told of requests, and that it can hold up none of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx
import psycopg
import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.holding import HELD, held, wait_long
from tests.support.otlp import Receiver, open_receiver
from tests.support.postgres import ThreeClusters, open_database, open_three_clusters, server_folder, url_of
from tests.support.waiting import wait_until
from tiergate.tenant import Tier

ACME, GLOBEX = TENANTS[Tier.STANDARD], TENANTS[Tier.PREMIUM]
TRACE = "4bf92f3577b34da6a3ce929d0e0e47"
SPAN = "00f067aa0ba902b7"
SECRET = "SELECT id FROM projects WHERE name = 'a word of the tenant'"
HOPS = ["identify", "locate", "admit", "guard", "queue", "connect", "database", "encode"]


def parent(number: int, flags: str = "01") -> str:
    """A trace of its own."""
    return f"00-{TRACE}{number:02x}-{SPAN}-{flags}"


@pytest.fixture(scope="module")
async def clusters() -> AsyncIterator[ThreeClusters]:
    async with open_three_clusters() as opened:
        yield opened


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


@pytest.fixture(scope="module")
async def site(clusters: ThreeClusters) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(server_folder())
        registry = url_of(await stack.enter_async_context(open_database(clusters.standard, prefix="spans")))
        opened = await stack.enter_async_context(open_site(folder, registry))
        await opened.furnish({tier: url_of(clusters.of(tier).conninfo()) for tier in Tier})
        await wait_long(clusters.standard.conninfo())
        yield opened


@pytest.fixture(scope="module")
async def serving(site: Site, receiver: Receiver) -> AsyncIterator[Serving]:
    changes = {"tracing.endpoint": receiver.url, "tracing.sample_ratio": 0.0, "logging.requests": "all"}
    async with open_gateway(site.folder, site.registry_url, changes) as opened:
        yield opened


async def ask(serving: Serving, key: str, text: str, traceparent: str | None, **more: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", **more}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return await serving.http.post(f"{serving.url}/sql", json={"query": text}, headers=headers)


async def test_a_request_of_a_trace_gives_a_span_for_each_hop_and_each_statement(
    serving: Serving, site: Site, receiver: Receiver
) -> None:
    # Nobody else asks for this tenant, so that there is no connection yet.
    answer = await ask(serving, site.keys[GLOBEX], SECRET, parent(1), tracestate="congo=t61")
    spans = await receiver.hears(f"{TRACE}01")
    root, database, statement = spans["POST /sql"], spans["database"], spans["SELECT"]

    assert set(spans) == {"POST /sql", "SELECT", *HOPS}
    assert (root.parent, root.span.trace_state) == (SPAN, "congo=t61")
    assert answer.headers["traceresponse"] == f"00-{TRACE}01-{root.id}-01"
    assert {spans[hop].parent for hop in HOPS} == {root.id}
    assert statement.parent == database.id
    assert root.attributes["tiergate.request_id"] == answer.headers["tiergate-request-id"]
    assert root.attributes["http.response.status_code"] == 200
    for each in spans.values():
        who = [each.attributes[f"tiergate.{name}"] for name in ("tenant", "tier", "cluster")]
        assert who == ["globex", "premium", "premium"]
        assert root.span.start_time_unix_nano <= each.span.start_time_unix_nano
        assert each.span.start_time_unix_nano <= each.span.end_time_unix_nano
        assert each.span.end_time_unix_nano <= root.span.end_time_unix_nano
    ordered = sorted((spans[hop] for hop in HOPS), key=lambda each: each.span.start_time_unix_nano)
    assert [each.name for each in ordered] == HOPS
    assert statement.attributes["db.system.name"] == "postgresql"
    assert statement.attributes["db.response.returned_rows"] == 0
    assert len(str(statement.attributes["tiergate.statement.fingerprint"])) == 16
    assert receiver.services == {"tiergate"}
    assert b"a word of the tenant" not in b"".join(each.span.SerializeToString() for each in spans.values())


async def test_the_parent_decides_whether_a_request_is_recorded(
    serving: Serving, site: Site, receiver: Receiver
) -> None:
    key = site.keys[ACME]
    quiet = await ask(serving, key, "SELECT 1", parent(2, "00"))
    alone = await ask(serving, key, "SELECT 1", None)
    malformed = await ask(serving, key, "SELECT 1", parent(2).upper())
    await ask(serving, key, "SELECT 1", parent(3))
    await receiver.hears(f"{TRACE}03")  # whatever was recorded before is there, too

    assert [answer.status_code for answer in (quiet, alone, malformed)] == [200] * 3
    assert not any("traceresponse" in answer.headers for answer in (quiet, alone, malformed))
    assert receiver.of(f"{TRACE}02") == {}
    told = {line["request_id"]: line["trace_id"] for line in serving.said("request")}
    assert told[quiet.headers["tiergate-request-id"]] == f"{TRACE}02"
    assert told[alone.headers["tiergate-request-id"]] is None
    assert told[malformed.headers["tiergate-request-id"]] is None


async def test_what_fails_is_seen_where_it_failed(serving: Serving, site: Site, receiver: Receiver) -> None:
    await ask(serving, site.keys[ACME], "SELECT 1/(SELECT 0)", parent(4))
    await ask(serving, site.keys[ACME], "DROP TABLE projects", parent(5))
    await ask(serving, "tg_x_y", "SELECT 1", parent(6))
    failed, refused, unknown = [await receiver.hears(f"{TRACE}0{number}") for number in (4, 5, 6)]

    assert failed["statement"].attributes["db.response.status_code"] == "22012"
    assert failed["database"].attributes["error.type"] == "statement-failed"
    assert failed["POST /sql"].attributes["error.type"] == "statement-failed"
    assert failed["POST /sql"].span.status.code == 0  # the caller's fault is none of the server's
    assert refused["guard"].attributes["error.type"] == "statement-refused"
    assert "queue" not in refused
    assert set(unknown) == {"POST /sql", "identify"}
    assert "tiergate.tenant" not in unknown["POST /sql"].attributes


async def test_share_text_and_comment_follow_the_settings_at_once(
    serving: Serving, site: Site, clusters: ThreeClusters, receiver: Receiver
) -> None:
    changes = {
        "tracing.sample_ratio": 1.0, "tracing.statement_text": "normalised", "tracing.sql_comment": "sampled",
    }  # fmt: skip
    serving.reconfigure(changes)
    await serving.ask_admin("POST", "/reload")
    try:
        answer = await ask(serving, site.keys[ACME], f"{SECRET} /* psst */", None)
        trace_id = answer.headers["traceresponse"].split("-")[1]
        said = (await receiver.hears(trace_id))["SELECT"].attributes["db.query.text"]
        async with held(clusters) as lock:
            asked = asyncio.create_task(ask(serving, site.keys[ACME], HELD, parent(7)))
            await wait_until(lock.waiting, what="the statement to stand before the lock")
            seen = await running(clusters, HELD)
            await lock.let_go()
        assert (await asked).status_code == 200
        database = (await receiver.hears(f"{TRACE}07"))["database"]
    finally:
        serving.reconfigure({})
        await serving.ask_admin("POST", "/reload")

    assert said == "SELECT id FROM projects WHERE name = $1"
    assert seen.endswith(f" /*traceparent='00-{TRACE}07-{database.id}-01'*/")


async def running(clusters: ThreeClusters, text: str) -> str:
    """The statement with *text* in it that a server is at work with."""
    async with await psycopg.AsyncConnection.connect(clusters.standard.conninfo()) as connection:
        found = await connection.execute(
            "SELECT query FROM pg_stat_activity WHERE state = 'active' AND strpos(query, %s) > 0"
            " AND pid <> pg_backend_pid()",
            (text,),
        )
        ((query,),) = await found.fetchall()
    return str(query)


async def test_a_receiver_that_says_nothing_holds_up_no_request(
    serving: Serving, site: Site, receiver: Receiver
) -> None:
    receiver.answers.clear()
    receiver.asked.clear()
    try:
        await ask(serving, site.keys[ACME], "SELECT 1", parent(8))
        await wait_until(receiver.asked.is_set, what="the receiver to be asked")
        answers = [await ask(serving, site.keys[ACME], "SELECT 1", parent(9)) for _ in range(50)]
    finally:
        receiver.answers.set()

    assert {answer.status_code for answer in answers} == {200}
    assert len(await receiver.hears(f"{TRACE}09")) == len(HOPS) + 1  # no connection was opened
