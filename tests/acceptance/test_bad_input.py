"""Whatever comes in: a clear refusal with a stable code, nothing told of others, and the gateway unharmed."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from router.connection import MAX_HEAD_BYTES
from tests.acceptance.conftest import Operator, Running, Strict
from tests.support.http import Answer, Door, assert_refused, exchange, head, lines, open_line, query, request
from tests.support.waiting import wait_until

GOOD = query("SELECT 1 AS one")
ONE_MIB = 1 << 20
TOO_MUCH = 11 * ONE_MIB


@pytest.fixture(autouse=True)
async def unharmed(gateway: Running, door: Door, operator: Operator) -> AsyncIterator[None]:
    """After each test the gateway answers on every tier, and no server connection is left at work."""
    yield
    for tenant in gateway.tenants.values():
        assert await door.rows(tenant.key, "SELECT 7") == [[7]]

    async def is_idle() -> bool:
        return await operator.active() == 0

    await wait_until(is_idle, within_s=5, what="every server connection idle")


@pytest.fixture
def key(gateway: Running) -> str:
    return gateway.tenants["acme"].key


def tells_nothing_of_others(answer: httpx.Response | Answer, gateway: Running) -> bool:
    """Whether a refusal to acme, or to nobody, names no other tenant and no key."""
    body = answer.body if isinstance(answer, Answer) else answer.content
    told = body.decode() + json.dumps(dict(answer.headers))
    names = [name for name in gateway.tenants if name != "acme"]
    secrets = [tenant.key.rpartition("_")[2] for tenant in gateway.tenants.values()]
    return not any(word in told for word in (*names, *secrets))


def batch(*queries: object) -> bytes:
    return json.dumps({"queries": queries}).encode()


def params(*values: object) -> bytes:
    return query("SELECT $1::text", *values)


def nested(opens: bytes, closes: bytes, depth: int) -> bytes:
    return b'{"query": "SELECT $1", "params": [' + opens * depth + b"1" + closes * depth + b"]}"


BODIES = [
    ("nothing", b"", "not-json", "08P01"),
    ("SQL", b"SELECT 1", "not-json", "08P01"),
    ("a form", b"query=SELECT+1", "not-json", "08P01"),
    ("half of it", GOOD[:-3], "not-json", "08P01"),
    ("two documents", GOOD + GOOD, "not-json", "08P01"),
    ("a byte order mark", b"\xef\xbb\xbf" + GOOD, "not-json", "08P01"),
    ("UTF-16", GOOD.decode().encode("utf-16"), "not-json", "08P01"),
    ("Latin-1", '{"query": "SELECT \'é\'"}'.encode("latin-1"), "not-json", "08P01"),
    ("compressed", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not-json", "08P01"),
    ("NaN", b'{"query": "SELECT $1", "params": [NaN]}', "not-json", "08P01"),
    ("a raw NUL", b'{"query": "SELECT \0"}', "not-json", "08P01"),
    ("an array", b"[]", "wrong-shape", "08P01"),
    ("null", b"null", "wrong-shape", "08P01"),
    ("a string", b'"SELECT 1"', "wrong-shape", "08P01"),
    ("an empty object", b"{}", "wrong-shape", "08P01"),
    ("other keys", b'{"sql": "SELECT 1", "tenant": "umbrella"}', "wrong-shape", "08P01"),
    ("query a number", b'{"query": 1}', "wrong-shape", "08P01"),
    ("query null", b'{"query": null}', "wrong-shape", "08P01"),
    ("query a list", b'{"query": ["SELECT 1"]}', "wrong-shape", "08P01"),
    ("params an object", b'{"query": "SELECT 1", "params": {}}', "wrong-shape", "08P01"),
    ("params a string", b'{"query": "SELECT 1", "params": "x"}', "wrong-shape", "08P01"),
    ("arrayMode a number", b'{"query": "SELECT 1", "arrayMode": 1}', "wrong-shape", "08P01"),
    ("query and queries", b'{"query": "SELECT 1", "queries": []}', "wrong-shape", "08P01"),
    ("queries an object", b'{"queries": {}}', "wrong-shape", "08P01"),
    ("queries of strings", batch("SELECT 1"), "wrong-shape", "08P01"),
    ("queries without query", batch({"query": "SELECT 1"}, {}), "wrong-shape", "08P01"),
    ("no text", b'{"query": ""}', "empty-statement", "42601"),
    ("blanks", b'{"query": " \\n\\t "}', "empty-statement", "42601"),
    ("a comment", b'{"query": "/* nothing */ -- at all"}', "statement-refused", "0A000"),
    ("a semicolon", b'{"query": ";"}', "statement-refused", "0A000"),
    ("NUL in the query", b'{"query": "SELECT \\u0000"}', "text-not-storable", "22021"),
    ("NUL in a parameter", params("a\0b"), "text-not-storable", "22021"),
    ("NUL in an array", params(["a\0b"]), "text-not-storable", "22021"),
    ("NUL in a document", query("SELECT $1::jsonb", {"a": "\0"}), "statement-failed", "22P05"),
    ("NUL in a batch", batch({"query": "SELECT 1"}, {"query": "\0"}), "text-not-storable", "22021"),
    ("half a pair in the query", b'{"query": "SELECT \\ud800"}', "not-json", "08P01"),
    ("half a pair in a parameter", params("\udc00"), "not-json", "08P01"),
    ("half a pair within", params({"a": ["\ud800"]}), "not-json", "08P01"),
    ("half a pair in bytes", b'{"query": "SELECT \xed\xa0\x80"}', "not-json", "08P01"),
    ("half a pair, large number", b'{"query": "\\ud800", "params": [1e400]}', "not-json", "08P01"),
    ("a million parameters", params(*[1] * 1_000_000), "too-many-parameters", "54023"),
    ("one parameter too many", params(*[1] * 65_536), "too-many-parameters", "54023"),
    ("more than it has", params("a", "b"), "statement-failed", "08P01"),
    ("fewer than it has", query("SELECT $1::int + $2::int", 1), "statement-failed", "08P01"),
    ("too many statements", batch(*[{"query": "SELECT 1"}] * 1001), "too-many-statements", "54000"),
    ("arrays in arrays", nested(b"[", b"]", 90_000), "nested-too-deep", "54001"),
    ("65 arrays", nested(b"[", b"]", 65), "nested-too-deep", "54001"),
    ("objects in objects", nested(b'{"a":', b"}", 5000), "nested-too-deep", "54001"),
    ("a quote left open", query("SELECT '"), "statement-unreadable", "42601"),
    ("parentheses", query("SELECT " + "(" * 20_000 + "1" + ")" * 20_000), "statement-too-complex", "54001"),
    ("additions", query("SELECT " + "1 + " * 100_000 + "1"), "statement-too-complex", "54001"),
    ("parameter number 0", query("SELECT $0"), "statement-failed", "42P02"),
    ("two statements", query("SELECT 1; SELECT 2"), "statement-refused", "0A000"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "sqlstate"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
async def test_a_body_that_is_no_query_is_refused_by_its_kind(
    body: bytes, code: str, sqlstate: str, gateway: Running, door: Door, key: str
) -> None:
    answer = await door.post(body, {"authorization": f"Bearer {key}"})

    assert_refused(answer, code, 400, sqlstate)
    assert answer.status_code == 400
    assert tells_nothing_of_others(answer, gateway)


async def test_a_body_that_says_it_is_too_large_is_refused_before_any_of_it_has_come(
    gateway: Running, key: str
) -> None:
    async with open_line(gateway.url) as line:
        await line.send(head(key, f"Content-Length: {TOO_MUCH}"))
        answer = await line.answer()

    assert_refused(answer, "request-too-large", 413, "54000")
    assert answer.headers["connection"] == "close"


async def test_a_body_without_a_length_is_refused_when_it_has_become_too_large(
    gateway: Running, key: str
) -> None:
    async with open_line(gateway.url) as line:
        await line.send(head(key, "Transfer-Encoding: chunked"))
        for _ in range(11):
            await line.send(b"100000\r\n" + b" " * ONE_MIB + b"\r\n")
        answer = await line.answer()

    assert_refused(answer, "request-too-large", 413, "54000")


@pytest.mark.parametrize("credential", ["its own", "a wrong one"])
async def test_a_client_that_sends_all_of_a_large_body_still_reads_the_refusal(
    credential: str, door: Door, key: str
) -> None:
    bearer = key if credential == "its own" else "tg_nobody_nothing"

    answer = await door.post(b" " * TOO_MUCH, {"authorization": f"Bearer {bearer}"})

    if credential == "its own":
        assert_refused(answer, "request-too-large", 413, "54000")
    else:
        assert_refused(answer, "unidentified", 401, "28P01")


async def test_a_large_body_within_the_limit_is_taken(door: Door, key: str) -> None:
    answer = await door.ask(key, "SELECT length($1)", "x" * 9 * ONE_MIB)

    assert answer.json()["rows"] == [{"length": 9 * ONE_MIB}]


async def test_a_body_that_arrives_slowly_is_waited_for_until_its_time_is_over(
    strict: Strict, key: str
) -> None:
    async with open_line(strict.serving.url) as line:
        await line.send(head(key, f"Content-Length: {len(GOOD)}") + GOOD[:5])
        answer = await line.answer()

    assert_refused(answer, "body-too-slow", 408, "57014")


async def test_a_trickle_of_a_body_does_not_lengthen_its_time(strict: Strict, key: str) -> None:
    async with open_line(strict.serving.url) as line:
        await line.send(head(key, f"Content-Length: {len(GOOD)}"))
        answering = asyncio.create_task(line.answer())
        for byte in GOOD[:-1]:
            await line.send(bytes([byte]))
            await asyncio.wait({answering}, timeout=0.15)
        assert answering.done()
        answer = await answering

    assert_refused(answer, "body-too-slow", 408, "57014")


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST /sql HTTP/1.1\r\nHost: gateway\r\nX-More: "])
async def test_a_head_that_does_not_arrive_ends_with_its_time(sent: bytes, strict: Strict) -> None:
    async with open_line(strict.serving.url) as line:
        await line.send(sent or b"\r\nP")
        answer = await line.answer()
        over = await line.is_over()

    assert_refused(answer, "head-too-slow", 408, "57014")
    assert over


async def test_half_a_body_and_a_hang_up_disturb_nobody(gateway: Running, key: str) -> None:
    for _ in range(20):
        async with open_line(gateway.url) as line:
            await line.send(head(key, "Content-Length: 1000") + GOOD)
            line.hang_up()


HEADS = [
    ("one long line", ["X-Long: " + "a" * MAX_HEAD_BYTES]),
    ("ten megabytes of one line", ["X-Long: " + "a" * 10 * ONE_MIB]),
    ("ten thousand headers", [f"X-{number}: {number}" for number in range(10_000)]),
    ("a million headers", [f"X-{number}: {number}" for number in range(1_000_000)]),
]


@pytest.mark.parametrize("headers", [case[1] for case in HEADS], ids=[case[0] for case in HEADS])
async def test_a_huge_head_is_refused(headers: list[str], gateway: Running, key: str) -> None:
    answer = await exchange(gateway.url, head(key, *headers, "Content-Length: 0"))

    assert_refused(answer, "head-too-large", 431, "54000")


@pytest.mark.parametrize("piece", [b"a" * 65536, b"\r\nX-More: b" * 6000, b"\0"])
async def test_a_head_without_end_is_cut_off_early(piece: bytes, gateway: Running) -> None:
    async with open_line(gateway.url) as line:
        await line.send(b"POST /sql HTTP/1.1\r\nHost: gateway\r\nX-Endless: ")
        for _ in range(8):
            await line.send(piece)
        answer = await line.answer()

    assert_refused(
        answer, "malformed-http" if piece == b"\0" else "head-too-large", 400 if piece == b"\0" else 431
    )


@pytest.mark.parametrize("endless", [b"0\r\nX-More: ", b"1;", b"0" * 100])
async def test_what_frames_a_body_has_an_end_too(endless: bytes, gateway: Running, key: str) -> None:
    async with open_line(gateway.url) as line:
        await line.send(head(key, "Transfer-Encoding: chunked") + b"1\r\n{\r\n" + endless)
        for _ in range(8):
            await line.send(b"0" * 65536)
        answer = await line.answer()

    assert answer.status in {400, 431}
    assert answer.headers["tiergate-error"] in {"malformed-http", "head-too-large"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer " + "x" * 9000),
        ("Neon-Connection-String", "postgresql://acme:" + "x" * 9000 + "@h.example.com/db"),
        ("Authorization", "Basic YWNtZTp4"),
        ("Authorization", "tg_x_y"),
        ("Authorization", "Bearer a b"),
        ("Authorization", "Bearer "),
        ("Neon-Connection-String", "mysql://acme:x@h/db"),
        ("Neon-Connection-String", "postgresql://acme"),
        ("Neon-Connection-String", "postgresql://:x@h.example.com/db"),
        ("Neon-Connection-String", "postgresql://acme:x%zz@h.example.com/db"),
        ("Neon-Connection-String", "postgresql://ac%me:x@h.example.com/db"),
        ("Neon-Connection-String", "postgresql://acme:%ff%fe@h.example.com/db"),
        ("Neon-Connection-String", "postgresql://acm\xe9:x@h.example.com/db"),
    ],
)
async def test_a_header_that_cannot_be_understood_is_named_but_not_repeated(
    name: str, value: str, gateway: Running
) -> None:
    answer = await exchange(gateway.url, request(None, GOOD, f"{name}: {value}"))

    assert_refused(answer, "bad-header", 400, "08P01")
    assert name in answer.json()["message"]
    assert value not in answer.body.decode()


@pytest.mark.parametrize("name", ["Authorization", "Neon-Connection-String"])
async def test_two_of_a_header_that_tells_who_calls_are_refused(
    name: str, gateway: Running, key: str
) -> None:
    value = f"Bearer {key}" if name == "Authorization" else gateway.tenants["acme"].connection_string
    answer = await exchange(gateway.url, request(None, GOOD, f"{name}: {value}", f"{name}: {value}"))

    assert_refused(answer, "bad-header", 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("POST", "/", 404), ("POST", "/sql/", 404), ("POST", "//sql", 404),
        ("POST", "/SQL", 404), ("POST", "/sql%00", 404), ("POST", "/sql%zz", 404), ("POST", "/x/../sql", 404),
        ("POST", "*", 404), ("GET", "/metrics", 404), ("GET", "/tenants", 404), ("POST", "/reload", 404),
        ("GET", "/sql", 405), ("PUT", "/sql", 405), ("DELETE", "/sql", 405), ("PATCH", "/sql", 405),
        ("TRACE", "/sql", 405), ("PROPFIND", "/sql", 405),
    ],
)  # fmt: skip
async def test_there_is_one_door_and_one_way_in(
    method: str, path: str, status: int, gateway: Running, key: str
) -> None:
    answer = await exchange(gateway.url, head(key, "Content-Length: 0", method=method, path=path))

    assert_refused(answer, "no-such-door", status, "0A000")
    assert answer.status == status
    assert ("allow" in answer.headers) is (status == 405)
    assert len(answer.headers["tiergate-request-id"]) == 36


MALFORMED = [
    ("letters for a length", head(None, "Content-Length: abc")),
    ("a negative length", head(None, "Content-Length: -5")),
    ("a signed length", head(None, "Content-Length: +5")),
    ("a length without end", head(None, "Content-Length: 99999999999999999999999")),
    ("two lengths", head(None, "Content-Length: 5", "Content-Length: 6")),
    ("a length and chunks", head(None, "Content-Length: 5", "Transfer-Encoding: chunked")),
    ("an unknown coding", head(None, "Transfer-Encoding: gzip")),
    ("no number of a chunk", head(None, "Transfer-Encoding: chunked") + b"zz\r\n"),
    ("an unknown method", head(None, method="BREW")),
    ("a tunnel", b"CONNECT gateway:80 HTTP/1.1\r\nHost: gateway\r\n\r\n"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(128))),
    ("Postgres", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    ("a blank before the colon", head(None, "X-Odd : 1")),
    ("a folded header", lines(["POST /sql HTTP/1.1", "Host: gateway", "X-Odd: 1", "  2"])),
    ("a NUL in a header", head(None, "X-Odd: a\0b")),
    ("line feeds alone", head(None, "Content-Length: 0").replace(b"\r\n", b"\n")),
    ("letters beyond ASCII in the path", head(None, path="/sq\xe9")),
    ("a path of 100 KiB", head(None, path="/sql?" + "a" * 100_000)),
]


@pytest.mark.parametrize("sent", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
async def test_what_is_no_http_is_told_so_and_the_connection_ended(sent: bytes, gateway: Running) -> None:
    async with open_line(gateway.url) as line:
        await line.send(sent)
        answer = await line.answer()
        over = await line.is_over(within_s=2)

    assert_refused(answer, answer.headers["tiergate-error"], answer.status)
    assert (answer.headers["tiergate-error"], answer.status) in {
        ("malformed-http", 400),
        ("head-too-large", 431),
    }
    assert over


async def test_what_follows_a_request_and_is_none_ends_the_connection_after_the_answer(
    gateway: Running, key: str
) -> None:
    async with open_line(gateway.url) as line:
        await line.send(request(key, GOOD) + b"\0\0\0\0")
        answer = await line.answer()
        over = await line.is_over(within_s=2)

    assert answer.json()["rows"] == [{"one": 1}]
    assert over


async def test_http_1_0_is_answered_and_the_connection_ended(gateway: Running, key: str) -> None:
    async with open_line(gateway.url) as line:
        await line.send(request(key, GOOD, version="HTTP/1.0"))
        answer = await line.answer()
        over = await line.is_over()

    assert answer.json()["rows"] == [{"one": 1}]
    assert over


async def test_pipelined_requests_are_answered_in_their_order(gateway: Running) -> None:
    asked = [gateway.tenants[name].key for name in ("acme", "globex", "umbrella", "treasury") * 5]
    async with open_line(gateway.url) as line:
        await line.send(b"".join(request(key, query("SELECT tiergate.tenant() AS who")) for key in asked))
        told = [(await line.answer()).json()["rows"][0]["who"] for _ in asked]

    assert told == ["acme", "globex", "umbrella", "treasury"] * 5


@pytest.mark.parametrize("name", ["Upgrade", "upgrade"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_a_wish_to_change_the_protocol_is_passed_over(
    name: str, protocol: str, gateway: Running, key: str
) -> None:
    """As Java's HttpClient and `curl --http2` send it: the body comes along and must not get lost."""
    wish = (
        "Connection: Upgrade, HTTP2-Settings",
        f"{name}: {protocol}",
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    )
    async with open_line(gateway.url) as line:
        for _ in range(2):
            await line.send(request(key, GOOD, *wish))
            answer = await line.answer()
            assert answer.json()["rows"] == [{"one": 1}]


async def test_a_wish_in_capitals_costs_the_body_which_is_then_no_request(
    gateway: Running, door: Door, key: str
) -> None:
    hidden = request(key, query("UPDATE projects SET name = 'smuggled'"))
    async with open_line(gateway.url) as line:
        await line.send(request(key, hidden, "Connection: Upgrade", "UPGRADE: h2c"))
        answer = await line.answer()
        over = await line.is_over()

    assert_refused(answer, "not-json", 400)
    assert over
    assert await door.rows(key, "SELECT count(*) FROM projects WHERE name = 'smuggled'") == [["0"]]


async def test_a_client_that_asks_first_is_told_to_go_on_or_refused_at_once(
    gateway: Running, key: str
) -> None:
    async with open_line(gateway.url) as line:
        await line.send(head(key, "Expect: 100-continue", f"Content-Length: {len(GOOD)}"))
        go_on = await line.answer()
        await line.send(GOOD)
        answer = await line.answer()
    refusal = await exchange(gateway.url, head(key, "Expect: 100-continue", f"Content-Length: {TOO_MUCH}"))

    assert go_on.status == 100
    assert answer.json()["rows"] == [{"one": 1}]
    assert_refused(refusal, "request-too-large", 413)


async def test_many_bad_requests_at_once_leave_the_good_ones_alone(
    gateway: Running, door: Door, key: str
) -> None:
    async def bad(number: int) -> None:
        async with open_line(gateway.url) as line:
            await line.send(
                [head(key, "Content-Length: 50"), b"\0\0", request("tg_x_y", GOOD), b""][number % 4]
            )
            line.hang_up()

    async with asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(bad(number))
        good = [tasks.create_task(door.rows(key, "SELECT $1::int", number)) for number in range(50)]

    assert [task.result() for task in good] == [[[number]] for number in range(50)]
