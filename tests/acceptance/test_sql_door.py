"""`POST /sql` as its clients see it, on each tier."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID

import httpx
import psycopg
import pytest

from tests.acceptance.conftest import ORIGIN, Operator, Running, Strict, superuser
from tests.acceptance.reach import tenant_of
from tests.support.http import Door, assert_refused, exchange, head, open_line, query, request
from tests.support.waiting import hold_within, wait_until
from tiergate.tenant import Tier

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) AS {mark} FROM n"
PARTS = re.compile(r"auth;dur=\d+\.\d\d, queue;dur=\d+\.\d\d, connect;dur=\d+\.\d\d, database;dur=\d+\.\d\d")
LEVELS = {
    "ReadUncommitted": "read uncommitted",
    "ReadCommitted": "read committed",
    "RepeatableRead": "repeatable read",
    "Serializable": "serializable",
}


@pytest.fixture(params=list(Tier))
def tier(request: pytest.FixtureRequest) -> Tier:
    return Tier(request.param)


@pytest.fixture
def key(gateway: Running, tier: Tier) -> str:
    return tenant_of(gateway, tier)[1].key


@pytest.fixture
async def onlooker(gateway: Running, tier: Tier) -> AsyncIterator[psycopg.AsyncConnection]:
    """A superuser on the cluster of the tier."""
    conninfo = await superuser(gateway, tier.value)
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        yield connection


async def running(onlooker: psycopg.AsyncConnection, mark: str) -> int:
    """Server processes that run a statement with *mark* in it, other than the onlooker's own."""
    cursor = await onlooker.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()",
        (f"%{mark}%",),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


# -- the frame of an answer


async def test_every_answer_says_where_it_comes_from_and_what_took_how_long(
    door: Door, key: str, tier: Tier
) -> None:
    answers = [await door.ask(key, text) for text in ("SELECT 1", "SELECT nothing", "SET x = 1")]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    for answer in answers:
        assert answer.headers["tiergate-route"] == f"tier={tier}; cluster={tier}"
        assert PARTS.fullmatch(answer.headers["server-timing"])
        assert UUID(answer.headers["tiergate-request-id"]).hex
        assert answer.headers["neon-request-id"] == answer.headers["tiergate-request-id"]
        assert "access-control-allow-origin" not in answer.headers
    assert len({answer.headers["tiergate-request-id"] for answer in answers}) == 3


async def test_who_is_not_known_learns_no_route(door: Door) -> None:
    answer = await door.ask("tg_x_y", "SELECT 1")

    assert_refused(answer, "unidentified", 401)
    assert "tiergate-route" not in answer.headers
    assert PARTS.fullmatch(answer.headers["server-timing"])
    assert UUID(answer.headers["tiergate-request-id"]).hex


async def test_the_time_in_the_database_is_told_as_it_was(door: Door, key: str) -> None:
    answer = await door.ask(key, "SELECT count(*) FROM generate_series(1, 1000000)")

    told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert float(told["database"]) > 5
    assert float(told["database"]) != int(float(told["database"]))


async def test_a_page_from_the_configured_origin_may_read_every_answer(strict: Strict, key: str) -> None:
    answers = [
        await strict.door.ask(key, "SELECT 1"),
        await strict.door.ask(key, "SELECT nothing"),
        await strict.door.ask("tg_x_y", "SELECT 1"),
        await strict.door.client.get(f"{strict.door.url}/nowhere"),
    ]

    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"tiergate-error", "tiergate-status", "tiergate-route", "server-timing"} <= set(exposed)


async def test_a_preflight_lets_every_header_of_the_format_through(strict: Strict, gateway: Running) -> None:
    preflight = head(None, "Access-Control-Request-Method: POST", method="OPTIONS")
    answer, without = [await exchange(url, preflight) for url in (strict.serving.url, gateway.url)]

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert set(allowed) == {
        "authorization", "content-type", "neon-connection-string", "neon-raw-text-output", "neon-array-mode",
        "neon-pool-opt-in", "neon-batch-read-only", "neon-batch-isolation-level", "neon-batch-deferrable",
        "tiergate-max-staleness", "traceparent", "tracestate",
    }  # fmt: skip
    assert (without.status, [name for name in without.headers if name.startswith("access")]) == (204, [])


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/sql", "nonsense", None])
async def test_the_content_type_is_not_looked_at(
    content_type: str | None, gateway: Running, key: str
) -> None:
    given = [] if content_type is None else [f"Content-Type: {content_type}"]

    answer = await exchange(gateway.url, request(key, query("SELECT 1 AS one"), *given))

    assert answer.json()["rows"] == [{"one": 1}]


# -- rows and values

EVERY_KIND = (
    "SELECT 1 AS n, 9007199254740993::int8 AS big, true AS yes, 1.50::numeric AS price,"
    " '{1,NULL}'::int[] AS list, '{\"a\": 1}'::jsonb AS doc, NULL AS none"
)
AS_TEXT = ["1", "9007199254740993", "t", "1.50", "{1,NULL}", '{"a": 1}', None]
AS_VALUES = [1, "9007199254740993", True, "1.50", [1, None], {"a": 1}, None]
NAMES = ["n", "big", "yes", "price", "list", "doc", "none"]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("arrays", [True, False])
async def test_rows_come_in_the_shape_that_was_asked_for(
    *, raw: bool, arrays: bool, door: Door, key: str
) -> None:
    asked = {"neon_raw_text_output": json.dumps(raw), "neon_array_mode": json.dumps(arrays)}

    answer = (await door.ask(key, EVERY_KIND, **asked)).json()

    values = AS_TEXT if raw else AS_VALUES
    assert answer["rows"] == [values if arrays else dict(zip(NAMES, values, strict=True))]
    assert answer["rowAsArray"] is arrays
    assert list(answer) == ["fields", "rows", "command", "rowCount", "rowAsArray"]
    assert [field["name"] for field in answer["fields"]] == NAMES
    assert [field["dataTypeID"] for field in answer["fields"]] == [23, 20, 16, 1700, 1007, 3802, 25]


async def test_each_statement_of_a_batch_may_ask_for_a_shape_of_its_own(door: Door, key: str) -> None:
    queries = [{"query": "SELECT 1 AS n", "arrayMode": mode} for mode in (True, False, None)]
    headers = {"authorization": f"Bearer {key}", "neon-array-mode": "true"}

    answer = await door.post(json.dumps({"queries": queries}).encode(), headers)

    assert [result["rows"] for result in answer.json()["results"]] == [[[1]], [{"n": 1}], [[1]]]


async def test_values_of_all_sizes_come_back_as_they_went_in(door: Door, key: str) -> None:
    values = ["", "ü€😀", "a\nb\tc\\\"'", "x" * 100_000, None]

    rows = await door.rows(key, "SELECT * FROM unnest($1::text[]) WITH ORDINALITY ORDER BY 2", values)

    assert [row[0] for row in rows] == values


# -- transactions


@pytest.mark.parametrize(("asked", "level"), LEVELS.items())
async def test_a_batch_runs_at_the_isolation_level_that_it_asks_for(
    asked: str, level: str, door: Door, key: str
) -> None:
    text = "SELECT current_setting('transaction_isolation') AS level"

    batch = await door.batch(key, text, neon_batch_isolation_level=asked)
    single = await door.ask(key, text, neon_batch_isolation_level=asked)

    assert batch.json()["results"][0]["rows"] == [{"level": level}]
    assert batch.headers["neon-batch-isolation-level"] == asked
    assert single.json()["rows"] == [{"level": "read committed"}]
    assert "neon-batch-isolation-level" not in single.headers


async def test_an_isolation_level_that_does_not_exist_is_refused(door: Door, key: str) -> None:
    for ask in (door.batch, door.ask):
        assert_refused(
            await ask(key, "SELECT 1", neon_batch_isolation_level="serializable"), "bad-header", 400
        )


async def test_a_batch_is_read_only_and_deferrable_when_it_asks_to_be(door: Door, key: str) -> None:
    texts = [f"SELECT current_setting('transaction_{name}')" for name in ("read_only", "deferrable")]

    asked = await door.batch(key, *texts, neon_batch_read_only="true", neon_batch_deferrable="true")
    otherwise = await door.batch(key, *texts, neon_batch_read_only="yes", neon_batch_deferrable="TRUE")

    assert [result["rows"][0]["current_setting"] for result in asked.json()["results"]] == ["on", "on"]
    assert asked.headers["neon-batch-read-only"] == asked.headers["neon-batch-deferrable"] == "true"
    assert [result["rows"][0]["current_setting"] for result in otherwise.json()["results"]] == ["off", "off"]
    assert "neon-batch-read-only" not in otherwise.headers
    assert "neon-batch-deferrable" not in otherwise.headers


async def test_a_read_only_batch_writes_nothing(door: Door, key: str) -> None:
    written = "UPDATE projects SET name = name || '!'"

    answer = await door.batch(key, "SELECT 1", written, neon_batch_read_only="true")

    assert_refused(answer, "statement-failed", 405, "25006")
    assert answer.status_code == 405


async def test_a_batch_happens_as_a_whole_or_not_at_all(door: Door, key: str) -> None:
    def member(name: str) -> str:
        return f"INSERT INTO members (email, name) VALUES ('{name}@batch.example', '{name}')"

    count = "SELECT count(*) FROM members WHERE email LIKE '%@batch.example'"

    refused = [
        await door.batch(key, member("one"), member("two"), "SELECT 1/0"),
        await door.batch(key, member("one"), member("one")),
        await door.batch(key, member("one"), "COMMIT", "SELECT nothing"),
    ]
    before = await door.rows(key, count)
    done = await door.batch(
        key, member("one"), count, "DELETE FROM members WHERE email = 'one@batch.example'"
    )

    assert [answer.status_code for answer in refused] == [400, 409, 400]
    assert before == [["0"]]
    assert [result["rowCount"] for result in done.json()["results"]] == [1, 1, 1]
    assert done.json()["results"][1]["rows"] == [{"count": "1"}]


async def test_an_empty_batch_answers_with_no_results(door: Door, key: str) -> None:
    assert (await door.batch(key)).json() == {"results": []}


# -- what goes wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT nothing", "nothing"),
        ("select 'ü€😀', nothing", "nothing"),
        ("/* a /* b */ */ -- c\n SELECT nothing", "nothing"),
        ("WITH a AS (SELECT 1) SELECT nothing FROM a", "nothing"),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT nothing FROM a", "nothing"),
        ("(SELECT nothing)", "nothing"),
        ("SELECT 1 FROM public.tasks, nowhere", "nowhere"),
        ('SELECT 1 FROM "public"."tasks" AS t JOIN public.members AS m ON t.nothing = m.id', "t.nothing"),
        ("SELECT 1 FROM public.nowhere", "public"),
        ("INSERT INTO public.members (nothing) VALUES (1)", "nothing"),
        ("UPDATE members SET nothing = 1", "nothing"),
        ("SELECT 1 FORM members", "members"),
        ("SELECT 1 +", None),
    ],
)
async def test_the_position_of_an_error_is_that_in_the_callers_text(
    text: str, found: str | None, door: Door, key: str
) -> None:
    single = (await door.ask(key, text)).json()
    second = (await door.batch(key, "SELECT 1", text)).json()

    at = len(text) + 1 if found is None else text.index(found) + 1
    assert single["position"] == second["position"] == str(at), single


async def test_what_postgres_says_is_handed_on_in_full(door: Door, key: str) -> None:
    answer = await door.ask(
        key, "INSERT INTO projects (slug, name, owner_id) SELECT slug, name, owner_id FROM projects"
    )

    said = answer.json()
    assert_refused(answer, "statement-failed", 409, "23505")
    assert (said["severity"], said["table"]) == ("ERROR", "projects")
    assert said["constraint"] == "projects_tenant_id_slug_key"
    assert said["schema"]
    assert (said["file"], said["routine"]) == ("nbtinsert.c", "_bt_check_unique")
    assert said["line"].isdecimal()


async def test_a_driver_gets_its_errors_with_status_400_and_the_honest_one_in_a_header(
    gateway: Running, door: Door, tier: Tier
) -> None:
    neon = {"neon-connection-string": tenant_of(gateway, tier)[1].connection_string}
    wrong = {"neon-connection-string": "postgresql://acme:tg_x_y@h.example.com/db"}

    answers = [
        await door.post(query("SELECT * FROM nowhere"), neon),
        await door.post(query("SELECT 1"), wrong),
        await door.client.get(f"{door.url}/sql", headers=neon),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert [answer.headers["tiergate-status"] for answer in answers] == ["404", "401", "405"]
    assert [answer.json()["code"] for answer in answers] == ["42P01", "28P01", "0A000"]


@pytest.mark.parametrize(
    ("text", "status", "sqlstate"),
    [
        ("SELECT * FROM nowhere", 404, "42P01"),
        ("SELECT lower(1, 2)", 404, "42883"),
        ("SELECT 'x'::int", 400, "22P02"),
        ("SELECT 1/0", 400, "22012"),
        ("INSERT INTO members (email, name) VALUES ('x', 'x')", 400, "23514"),
        ("INSERT INTO members (email) VALUES ('x@y')", 400, "23502"),
        ("INSERT INTO projects (slug, name, owner_id) VALUES ('x', 'x', gen_random_uuid())", 409, "23503"),
        ("UPDATE members SET tenant_id = 'x'", 403, "42501"),
        ("SELECT $1::int", 400, "08P01"),
    ],
)
async def test_the_status_follows_from_what_postgres_says(
    text: str, status: int, sqlstate: str, door: Door, key: str
) -> None:
    answer = await door.ask(key, text)

    assert_refused(answer, "statement-failed", status, sqlstate)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "code", "status", "sqlstate", "position"),
    [
        ("SELECT pg_terminate_backend(1)", "statement-forbidden", 403, "42501", 8),
        ("SELECT nothing()", "statement-forbidden", 403, "42501", 8),
        ("SELECT 'ü', (1).pg_terminate_backend", "statement-forbidden", 403, "42501", 13),
        ("TRUNCATE members", "statement-refused", 400, "0A000", 1),
        ("SELECT 1; SELECT 2", "statement-refused", 400, "0A000", 11),
        ("SELEC 1", "statement-unreadable", 400, "42601", 1),
        (f"SELECT {'+'.join('1' * 5000)}", "statement-too-complex", 400, "54001", 4007),
    ],
)
async def test_what_the_guard_does_not_pass_never_reaches_the_database(
    text: str, code: str, status: int, sqlstate: str, position: int, door: Door, key: str
) -> None:
    answer = await door.ask(key, text)

    assert_refused(answer, code, status, sqlstate)
    assert answer.json()["position"] == str(position)
    assert "database;dur=0.00" in answer.headers["server-timing"]


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(strict: Strict, key: str) -> None:
    answer = await strict.door.ask(key, ENDLESS.format(mark="too_long"))

    assert_refused(answer, "statement-failed", 504, "57014")
    assert "statement timeout" in answer.json()["message"]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT repeat('x', 70000)",
        "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
        "SELECT generate_series(1, 100000000)",
    ],
)
async def test_an_answer_that_is_too_large_is_not_handed_on_and_not_waited_for(
    text: str, strict: Strict, key: str
) -> None:
    answer = await strict.door.ask(key, text)

    assert_refused(answer, "response-too-large", 507, "54000")
    assert (await strict.door.ask(key, "SELECT 1 AS one")).json()["rows"] == [{"one": 1}]


async def test_a_large_answer_within_the_limit_comes_whole(door: Door, key: str) -> None:
    rows = await door.rows(key, "SELECT repeat('x', 1000) FROM generate_series(1, 9000)")

    assert len(rows) == 9000
    assert all(row == ["x" * 1000] for row in rows)


# -- names


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM public.tasks",
        'SELECT count(*) FROM "public"."tasks"',
        "SELECT count(*) FROM PUBLIC.tasks",
        "SELECT count(public.tasks.id) FROM public.tasks",
        "SELECT count(*) FROM app.tasks",
        "SELECT count(*) FROM public . /* here */ tasks WHERE 'public.' = $$public.$$",
        "WITH a AS (SELECT * FROM public.tasks) SELECT count(*) FROM a",
        "(SELECT count(*) FROM public.tasks)",
    ],
)
async def test_tables_go_by_the_same_names_on_every_tier(text: str, door: Door, key: str) -> None:
    assert await door.rows(key, text) == await door.rows(key, "SELECT count(*) FROM tasks")


async def test_writes_go_by_the_same_names_on_every_tier(door: Door, key: str) -> None:
    written = await door.batch(
        key,
        "INSERT INTO public.members (email, name) VALUES ('n@names.example', 'n')",
        "UPDATE public.members AS m SET name = 'm' WHERE m.email = 'n@names.example'",
        "MERGE INTO public.members AS m USING (VALUES ('n@names.example')) AS v (e) ON m.email = v.e"
        " WHEN MATCHED THEN UPDATE SET name = 'o'",
        "DELETE FROM public.members WHERE public.members.email = 'n@names.example'",
    )

    assert [(result["command"], result["rowCount"]) for result in written.json()["results"]] == [
        ("INSERT", 1), ("UPDATE", 1), ("MERGE", 1), ("DELETE", 1),
    ]  # fmt: skip


# -- callers that go away


@pytest.mark.parametrize("way", ["reset", "farewell"])
async def test_the_statement_of_a_caller_that_is_gone_is_cancelled_within_a_second(
    way: str, gateway: Running, operator: Operator, key: str, tier: Tier, onlooker: psycopg.AsyncConnection
) -> None:
    mark = f"gone_{way}_{tier}"

    async def is_over() -> bool:
        return await running(onlooker, mark) == 0 and await operator.active() == 0

    async def timed() -> float:
        async with open_line(gateway.url) as line:
            await line.send(request(key, query(ENDLESS.format(mark=mark))))
            await wait_until(lambda: running(onlooker, mark), what="the statement at the server")
            began_s = time.monotonic()
            if way == "reset":
                line.hang_up()
            else:
                line.writer.close()
            await wait_until(is_over, what="the statement cancelled")
            return time.monotonic() - began_s

    await hold_within(1, timed, what="the statement cancelled")


async def test_a_caller_that_is_gone_in_the_middle_of_a_batch_leaves_nothing_behind(
    gateway: Running, door: Door, key: str, tier: Tier, onlooker: psycopg.AsyncConnection
) -> None:
    mark = f"half_{tier}"
    texts = [
        "INSERT INTO members (email, name) VALUES ('gone@batch.example', 'gone')",
        ENDLESS.format(mark=mark),
    ]
    body = json.dumps({"queries": [{"query": text} for text in texts]}).encode()

    async def is_over() -> bool:
        return await running(onlooker, mark) == 0

    async def timed() -> float:
        async with open_line(gateway.url) as line:
            await line.send(request(key, body))
            await wait_until(lambda: running(onlooker, mark), what="the second statement at the server")
            began_s = time.monotonic()
            line.hang_up()
            await wait_until(is_over, what="the statement cancelled")
            return time.monotonic() - began_s

    await hold_within(1, timed, what="the statement cancelled")
    assert await door.rows(key, "SELECT 1 FROM members WHERE email = 'gone@batch.example'") == []


# -- many at once


async def test_fifty_callers_at_once_each_see_their_own_rows_only(
    gateway: Running, door: Door, operator: Operator, tier: Tier
) -> None:
    keys = {name: tenant.key for name, tenant in gateway.tenants.items() if tenant.tier == tier}
    name, made = await operator.create_tenant(tier.value)
    keys[name] = made
    await door.ask(made, "INSERT INTO members (email, name) VALUES ('only@one.example', 'only')")
    names = list(keys)
    asked = "SELECT tenant_id, max(tenant_id) OVER () FROM members WHERE $1::int > 0"

    async def caller(number: int) -> list[tuple[str, list[list[str]]]]:
        who = [names[(number + turn) % len(names)] for turn in range(6)]
        return [(name, await door.rows(keys[name], asked, number + 1)) for name in who]

    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(caller(number)) for number in range(50)]

    seen = [pair for task in callers for pair in task.result()]
    assert len(seen) == 300
    assert all(rows and all(row == [name, name] for row in rows) for name, rows in seen)


async def test_request_ids_do_not_tell_how_many_requests_others_make(door: Door, key: str) -> None:
    ids = [UUID((await door.ask(key, "SELECT 1")).headers["tiergate-request-id"]).int for _ in range(3)]

    assert all(abs(later - earlier) > 1 << 32 for earlier, later in pairwise(ids))


async def test_a_refused_caller_may_ask_again_on_a_new_connection(door: Door, key: str) -> None:
    refused: list[httpx.Response] = [await door.ask("tg_x_y", "SELECT 1") for _ in range(3)]

    assert {answer.headers["connection"] for answer in refused} == {"close"}
    assert await door.rows(key, "SELECT 1") == [[1]]
