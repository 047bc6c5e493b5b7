"""Streamed answers through the real process: whole ones, broken ones, and callers who do not read."""

import errno
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.gateways import TENANTS, Serving, Site, open_gateway, open_site
from tests.support.http import assert_refused, exchange, query, request
from tests.support.pgbouncer import open_pgbouncer
from tests.support.postgres import open_database, open_test_cluster, server_folder, url_of
from tests.support.streams import Told, kinds, lazy_reader, open_stream, read_some, stream
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

ACME, OTHER = TENANTS[Tier.STANDARD], TenantId("other")
STALL_S, PATIENT_S = 1.0, 15.0
MUCH = "SELECT n, repeat('x', 1000) AS body FROM generate_series(1, 1000000) AS n"
"""1 GB, which nobody waits for the end of."""

Admin = psycopg.AsyncConnection[tuple[object, ...]]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Cluster]:
    """The tenants' server, of their own."""
    async with open_test_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
async def database(server: Cluster) -> AsyncIterator[str]:
    """The superuser's conninfo of the tenants' database."""
    async with open_database(server, prefix="tenants") as conninfo:
        yield conninfo


@pytest.fixture(scope="module")
async def admin(database: str, site: Site) -> AsyncIterator[Admin]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        assert site.keys
        yield connection


@pytest.fixture(scope="module")
async def site(database: str) -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with (
            open_test_cluster() as cluster,
            open_database(cluster, prefix="registry") as registry,
            open_site(folder, url_of(registry)) as opened,
        ):
            await opened.furnish({Tier.STANDARD: url_of(database)})
            await opened.operations.create_tenant(
                OTHER, Tier.STANDARD, region=None, cluster=Tier.STANDARD, actor="test",
                deadline=Deadline.after(60),
            )  # fmt: skip
            opened.keys[OTHER] = await opened.create_key(OTHER)
            yield opened


@pytest.fixture(scope="module", params=["directly", "through PgBouncer"])
async def serving(request: pytest.FixtureRequest, site: Site, server: Cluster) -> AsyncIterator[Serving]:
    changes = {"gateway.stream_stall_s": STALL_S, "gateway.max_response_bytes": 2_000_000}
    pooled = f"/clusters/{Tier.STANDARD}/pgbouncer"
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_gateway(site.folder, site.registry_url, changes))
        if request.param == "directly":
            yield opened
            return
        pooler = await stack.enter_async_context(open_pgbouncer(server))
        before = {"address": pooler.address, "prepared_statements": pooler.prepares}
        assert (await opened.ask_admin("PUT", pooled, before)).is_success
        yield opened
        assert (await opened.ask_admin("DELETE", pooled)).is_success


async def at_work(admin: Admin) -> list[str]:
    """What the gateway's server processes run now, those aside that are at rest."""
    asked = "SELECT query FROM pg_stat_activity WHERE usename = 'tiergate_gate' AND state <> 'idle'"
    return [str(row[0]) for row in await (await admin.execute(asked)).fetchall()]


async def is_quiet(admin: Admin) -> bool:
    return not await at_work(admin)


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


# -- whole answers


async def test_a_stream_has_its_columns_then_each_row_then_the_command_and_then_the_commit(
    serving: Serving, site: Site
) -> None:
    asked = {"query": "SELECT n, 'a' || n AS name FROM generate_series(1, $1::int) AS n", "params": [2]}
    lines = await stream(serving.http, serving.url, site.keys[ACME], asked)

    assert [field["name"] for field in lines[0]["fields"]] == ["n", "name"]
    assert lines[0]["rowAsArray"] is False
    assert lines[1:] == [
        {"row": {"n": 1, "name": "a1"}},
        {"row": {"n": 2, "name": "a2"}},
        {"command": "SELECT", "rowCount": 2},
        {"committed": True},
    ]


async def test_a_long_stream_is_complete_and_costs_little_memory(serving: Serving, site: Site) -> None:
    text = "SELECT n, 'member ' || n AS name, repeat('x', 70) AS body FROM generate_series(1, 200000) AS n"
    await stream(serving.http, serving.url, site.keys[ACME], {"query": "SELECT 1"})
    idle_mib = peak_mib = resident_mib(serving.process.pid)
    numbers: list[int] = []
    told: Told = {}
    async with open_stream(serving.http, serving.url, site.keys[ACME], {"query": text}) as answer:
        async for line in answer.aiter_lines():
            told = json.loads(line)
            if "row" in told:
                numbers.append(told["row"]["n"])
                if len(numbers) % 1000 == 0:
                    peak_mib = max(peak_mib, resident_mib(serving.process.pid))

    assert numbers == list(range(1, 200001))
    assert told == {"committed": True}
    assert peak_mib - idle_mib < 20


async def test_wide_rows_cost_no_more_memory_than_a_few_of_them(serving: Serving, site: Site) -> None:
    text = "SELECT n, repeat('x', 1000000) AS body FROM generate_series(1, 100) AS n"
    await stream(serving.http, serving.url, site.keys[ACME], {"query": "SELECT 1"})
    idle_mib = peak_mib = resident_mib(serving.process.pid)
    size, end = 0, b""
    async with open_stream(serving.http, serving.url, site.keys[ACME], {"query": text}) as answer:
        async for piece in answer.aiter_bytes():
            size += len(piece)
            end = (end + piece)[-100:]
            peak_mib = max(peak_mib, resident_mib(serving.process.pid))

    assert size > 100_000_000
    assert end.endswith(b'{"committed":true}\n')
    assert peak_mib - idle_mib < 20


async def test_rows_come_as_the_request_wants_them(serving: Serving, site: Site) -> None:
    body = {"queries": [{"query": "SELECT 1 AS a, true AS b"}, {"query": "SELECT 2", "arrayMode": False}]}
    lines = await stream(
        serving.http, serving.url, site.keys[ACME], body,
        neon_array_mode="true", neon_raw_text_output="true",
    )  # fmt: skip

    assert [line["row"] for line in lines if "row" in line] == [["1", "t"], {"?column?": "2"}]
    assert kinds(lines) == ["fields", "row", "command", "fields", "row", "command", "committed"]


async def test_an_answer_without_rows_tells_its_columns_all_the_same(serving: Serving, site: Site) -> None:
    body = {"queries": [{"query": "SELECT 1 AS a WHERE false"}, {"query": "DELETE FROM tasks"}]}
    lines = await stream(serving.http, serving.url, site.keys[ACME], body)

    assert kinds(lines) == ["fields", "command", "fields", "command", "committed"]
    assert [field["name"] for field in lines[0]["fields"]] == ["a"]
    assert lines[2]["fields"] == []
    assert lines[3] == {"command": "DELETE", "rowCount": 0}


async def test_an_empty_batch_is_committed(serving: Serving, site: Site) -> None:
    assert await stream(serving.http, serving.url, site.keys[ACME], {"queries": []}) == [{"committed": True}]


async def test_many_statements_of_one_batch_are_streamed_in_order(serving: Serving, site: Site) -> None:
    batch = {"queries": [{"query": f"SELECT {n} AS n, repeat('x', 3000) AS body"} for n in range(1000)]}
    lines = await stream(serving.http, serving.url, site.keys[ACME], batch)

    assert [line["row"]["n"] for line in lines if "row" in line] == list(range(1000))
    assert len(lines) == 3001


async def test_no_value_can_end_a_line(serving: Serving, site: Site) -> None:
    """Neither a `json` value's own line feeds, nor what some readers take for the end of a line."""
    texts = ["a\nb\rc", '\u2028{"committed":true}', "\u2029", "\x85", "\x0b\x0c\x1c"]
    asked = {"query": "SELECT $1::text[] AS t, $2::json AS j", "params": [texts, '{"a":\r\n[1,\n"\u2028"]}']}
    body = json.dumps(asked).encode()
    async with serving.http.stream(
        "POST", f"{serving.url}/sql", content=body,
        headers={"authorization": f"Bearer {site.keys[ACME]}", "accept": "application/x-ndjson"},
    ) as answer:  # fmt: skip
        told = (await answer.aread()).decode()

    lines = [json.loads(line) for line in told.splitlines()]
    assert kinds(lines) == ["fields", "row", "command", "committed"]
    assert lines[1]["row"] == {"t": texts, "j": {"a": [1, "\u2028"]}}


async def test_a_row_that_looks_like_the_end_is_a_row(serving: Serving, site: Site) -> None:
    asked = {"query": "SELECT true AS committed, 'x' AS error"}
    lines = await stream(serving.http, serving.url, site.keys[ACME], asked)

    assert lines[1] == {"row": {"committed": True, "error": "x"}}


# -- what goes wrong


async def test_what_fails_before_a_piece_was_sent_has_an_honest_status(serving: Serving, site: Site) -> None:
    key = site.keys[ACME]
    for text, code, status in (
        ("SELECT 1 / 0", "22012", 400),
        ("SELECT n, 1 / (500 - n) FROM generate_series(1, 1000) AS n", "22012", 400),
        ("SELECT * FROM nowhere", "42P01", 404),
    ):
        async with open_stream(serving.http, serving.url, key, {"query": text}) as answer:
            await answer.aread()
        assert_refused(answer, "statement-failed", status, code)


async def test_what_fails_later_is_the_last_line(serving: Serving, site: Site) -> None:
    asked = {"query": "SELECT n, 1 / (100000 - n) AS x FROM generate_series(1, 200000) AS n"}
    lines = await stream(serving.http, serving.url, site.keys[ACME], asked)

    assert kinds(lines) == ["fields", "row", "error"]
    assert len(lines) == 99999 + 2
    assert lines[-1]["error"]["code"] == "22012"
    assert lines[-1]["error"]["severity"] == "ERROR"
    assert (lines[-1]["tiergate-error"], lines[-1]["tiergate-status"]) == ("statement-failed", 400)


async def test_rows_are_handed_on_before_the_commit_and_a_caller_who_goes_leaves_nothing(
    serving: Serving, site: Site, admin: Admin
) -> None:
    text = (
        "INSERT INTO app.members (email, name) SELECT 'm' || n || '@example.com', repeat('x', 500)"
        " FROM generate_series(1, 40000) AS n RETURNING email, name"
    )

    async def kept() -> object:
        return await (await admin.execute("SELECT count(*) FROM app.members")).fetchone()

    await admin.execute("DELETE FROM app.members")
    with lazy_reader(serving.url, site.keys[ACME], text) as caller:
        assert b"m1@example.com" in await read_some(caller, 100_000)
        assert await kept() == (0,)
    await wait_until(lambda: is_quiet(admin))

    assert await kept() == (0,)
    lines = await stream(serving.http, serving.url, site.keys[ACME], {"query": text.replace("40000", "1000")})
    assert (len(lines), lines[-1]) == (1003, {"committed": True})
    assert await kept() == (1000,)


async def test_a_commit_that_fails_is_told_after_the_rows(serving: Serving, site: Site, admin: Admin) -> None:
    await admin.execute(
        "ALTER TABLE app.projects ALTER CONSTRAINT projects_tenant_id_owner_id_fkey"
        " DEFERRABLE INITIALLY DEFERRED"
    )
    text = (
        "INSERT INTO app.projects (slug, name, owner_id) SELECT 's' || n, repeat('x', 500), gen_random_uuid()"
        " FROM generate_series(1, 1000) AS n RETURNING slug, name"
    )
    lines = await stream(serving.http, serving.url, site.keys[ACME], {"query": text})
    count = await admin.execute("SELECT count(*) FROM app.projects WHERE slug LIKE 's%'")

    assert kinds(lines) == ["fields", "row", "command", "error"]
    assert lines[-2]["rowCount"] == 1000
    assert lines[-1]["error"]["code"] == "23503"
    assert await count.fetchone() == (0,)
    short = {"query": text.replace("1000", "1")}
    async with open_stream(serving.http, serving.url, site.keys[ACME], short) as answer:
        await answer.aread()
    assert_refused(answer, "statement-failed", 409, "23503")


async def test_one_row_may_be_as_large_as_an_answer_and_no_larger(serving: Serving, site: Site) -> None:
    text = "SELECT n, repeat('x', CASE n WHEN 200 THEN 4000000 ELSE 1000 END) FROM generate_series(1, 300) n"
    lines = await stream(serving.http, serving.url, site.keys[ACME], {"query": text})

    assert kinds(lines) == ["fields", "row", "error"]
    assert lines[-1]["tiergate-error"] == "response-too-large"


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        ("application/x-ndjson", "HTTP/1.0"),
        ("application/x-ndjson;q=0, */*", "HTTP/1.1"),
        ("*/*", "HTTP/1.1"),
    ],
)
async def test_who_cannot_read_a_stream_or_does_not_ask_for_one_gets_the_whole_answer(
    serving: Serving, site: Site, accept: str, version: str
) -> None:
    asked = request(site.keys[ACME], query("SELECT 1 AS a"), f"Accept: {accept}", version=version)
    answer = await exchange(serving.url, asked)

    assert answer.json()["rows"] == [{"a": 1}]


# -- callers who do not read, or go


async def test_a_caller_who_stops_reading_is_cut_off_and_nothing_of_it_is_left(
    serving: Serving, site: Site, admin: Admin
) -> None:
    before = await serving.metric("tiergate_requests_total", outcome="reader-too-slow")
    with lazy_reader(serving.url, site.keys[ACME], MUCH) as caller:
        await read_some(caller, 200_000)
        assert any("generate_series" in text for text in await at_work(admin))
        began = time.monotonic()

        async def is_cut_off() -> bool:
            return await serving.metric("tiergate_requests_total", outcome="reader-too-slow") > before

        await wait_until(is_cut_off, what="the reader to be cut off")
        await wait_until(lambda: is_quiet(admin), what="the server to be at rest")
        took_s = time.monotonic() - began
        reset = partial(caller.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
        await wait_until(lambda: reset() == errno.ECONNRESET, what="the reset")

    assert took_s < STALL_S + 4
    assert await serving.metric("tiergate_pool_connections", state="active") == 0


async def test_a_caller_who_goes_has_its_statement_cancelled(
    serving: Serving, site: Site, admin: Admin
) -> None:
    before = await serving.metric("tiergate_requests_total", outcome="client-gone")
    with lazy_reader(serving.url, site.keys[ACME], MUCH) as caller:
        await read_some(caller, 200_000)
        assert any("generate_series" in text for text in await at_work(admin))

    async def is_counted() -> bool:
        return await serving.metric("tiergate_requests_total", outcome="client-gone") == before + 1

    await wait_until(is_counted)
    await wait_until(lambda: is_quiet(admin))


async def restall(serving: Serving, stall_s: float) -> None:
    """Let whoever does not read be cut off after so long."""
    serving.reconfigure({"gateway.stream_stall_s": stall_s})
    assert (await serving.ask_admin("POST", "/reload")).is_success


async def test_a_slow_reader_keeps_nobody_else_waiting(serving: Serving, site: Site, admin: Admin) -> None:
    """It takes a piece now and then, and the others are served meanwhile, long before it could be cut off."""
    waits: list[float] = []
    await restall(serving, PATIENT_S)
    with lazy_reader(serving.url, site.keys[ACME], MUCH) as caller:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            for _ in range(40):
                await read_some(caller, 80_000)
                began = time.monotonic()
                answer = await serving.sql(site.keys[OTHER], "SELECT 1 AS a", client=client)
                waits.append(time.monotonic() - began)
                assert answer.json()["rows"] == [{"a": 1}]
        assert any("generate_series" in text for text in await at_work(admin))
    await restall(serving, STALL_S)

    assert sorted(waits)[len(waits) // 4] < 0.1  # who else uses the machine makes some of them longer


async def test_nothing_of_a_stream_is_left_on_its_connection(serving: Serving, site: Site) -> None:
    where = "SELECT tiergate.tenant() AS t, pg_backend_pid() AS p, current_setting('statement_timeout') AS s"
    answered = await serving.sql(site.keys[OTHER], where.replace("pg_backend_pid()", "1"))
    text = "SELECT repeat('x', 1000) AS body FROM generate_series(1, 1000)"
    lines = await stream(serving.http, serving.url, site.keys[ACME], {"query": text})
    after = await serving.sql(site.keys[OTHER], where.replace("pg_backend_pid()", "1"))

    assert len(lines) == 1003
    assert after.json()["rows"] == answered.json()["rows"]
    assert after.json()["rows"][0]["t"] == OTHER


# -- the end of the gateway


async def test_a_drain_ends_a_stream_with_a_line_that_says_so(site: Site, admin: Admin) -> None:
    limits = {"gateway.drain_timeout_s": 0.5}
    last = ""
    async with open_gateway(site.folder, site.registry_url, limits) as ending:
        async with open_stream(ending.http, ending.url, site.keys[ACME], {"query": MUCH}) as answer:
            async for line in answer.aiter_lines():
                if not last:
                    ending.signal(signal.SIGTERM)
                last = line
        assert await ending.ended() == 0

    assert json.loads(last)["tiergate-error"] == "deadline-exceeded"
    await wait_until(lambda: is_quiet(admin))


async def test_a_server_process_that_ends_in_the_middle_is_the_last_line(
    serving: Serving, site: Site, admin: Admin
) -> None:
    last: Told = {}
    async with open_stream(serving.http, serving.url, site.keys[ACME], {"query": MUCH}) as answer:
        async for line in answer.aiter_lines():
            if not last:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'tiergate_gate' AND query LIKE '%generate_series%'"
                )
            last = json.loads(line)

    assert (last["tiergate-error"], last["error"]["code"]) == ("connection-lost", "08006")


async def test_an_operator_ends_a_stream_whose_caller_reads_nothing(
    serving: Serving, site: Site, admin: Admin
) -> None:
    before = await serving.metric("tiergate_requests_total", outcome="killed")
    with lazy_reader(serving.url, site.keys[ACME], MUCH) as caller:
        await read_some(caller, 200_000)
        began = time.monotonic()
        told = await serving.ask_admin("POST", "/orders", {"verb": "kill", "tenant": ACME})
        await wait_until(lambda: is_quiet(admin))
        took_s = time.monotonic() - began

    assert told.is_success, told.text
    assert sum(process["ended"] for process in told.json()["processes"]) == 1
    assert took_s < STALL_S + 2

    async def is_counted() -> bool:
        return await serving.metric("tiergate_requests_total", outcome="killed") == before + 1

    await wait_until(is_counted)
