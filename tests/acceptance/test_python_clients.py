"""Clients from outside that are not Node's: PyPI's neon-serverless, and curl with a bearer key."""

import asyncio
import datetime as dt
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

import pytest
from neon_serverless import AsyncNeon, FullQueryResults, Neon, NeonDbError, neon, neon_async

from tests.acceptance.reach import RunningGateway, RunningTenant, lacking, tenant_of
from tiergate.tenant import Tier

CURL_S = 30.0


@pytest.fixture(params=list(Tier))
def tier(request: pytest.FixtureRequest) -> Tier:
    return Tier(request.param)


@pytest.fixture
def tenant(gateway: RunningGateway, tier: Tier) -> RunningTenant:
    return tenant_of(gateway, tier)[1]


@pytest.fixture
def client(gateway: RunningGateway, tenant: RunningTenant) -> Iterator[Neon]:
    with neon(tenant.connection_string, endpoint=f"{gateway.url}/sql") as opened:
        yield opened


@pytest.fixture
async def async_client(gateway: RunningGateway, tenant: RunningTenant) -> AsyncIterator[AsyncNeon]:
    async with neon_async(tenant.connection_string, endpoint=f"{gateway.url}/sql") as opened:
        yield opened


@pytest.fixture
def email(client: Neon) -> Iterator[str]:
    """An address that no other test has; its member, if there is one, goes at the end."""
    address = f"python-{uuid.uuid4()}@example.com"
    yield address
    client("DELETE FROM members WHERE email = $1", [address])


def test_rows_are_dicts_by_default_and_lists_when_asked(client: Neon) -> None:
    assert client("SELECT $1::int AS n, $2::text AS said", [1, "it's"]) == [{"n": 1, "said": "it's"}]
    assert client("SELECT 1, 2", array_mode=True) == [[1, 2]]


def test_full_results_tell_command_fields_and_row_count(client: Neon) -> None:
    result = client("SELECT id FROM members WHERE false", full_results=True)

    assert isinstance(result, FullQueryResults)
    assert (result.command, result.row_count, result.rows) == ("SELECT", 0, [])
    assert [(field["name"], field["dataTypeID"]) for field in result.fields] == [("id", 2950)]


@pytest.mark.parametrize(
    ("sql_type", "value"),
    [
        ("int8", 2**63 - 1),
        ("numeric", Decimal("12345678901234567890.123456789")),
        ("float8", 0.1),
        ("bool", True),
        ("text", "naïve 東京 🐘 \\ \" '"),
        ("text", None),
        ("bytea", bytes(range(256))),
        ("uuid", uuid.UUID("0192f0c1-2b3d-7e4f-8a9b-0c1d2e3f4a5b")),
        ("date", dt.date(2024, 2, 29)),
        ("timestamp", dt.datetime(2024, 2, 29, 23, 59, 59, 123456)),  # noqa: DTZ001 - it has none
        ("timestamptz", dt.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=dt.UTC)),
        ("jsonb", {"a": [1, None, {"b": "ü"}]}),
        ("int4[]", [1, None, 3]),
        ("text[]", ["a,b", 'c"d', "{e}", "", "NULL", "\\"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_comes_back_as_it_went(client: Neon, sql_type: str, value: object) -> None:
    assert client(f"SELECT $1::{sql_type}", [value], array_mode=True) == [[value]]


def test_a_transaction_sees_its_own_writes_and_keeps_them(client: Neon, email: str) -> None:
    _, inside = client.transaction(
        [
            ("INSERT INTO members (email, name) VALUES ($1, $2)", [email, "Ada"]),
            ("SELECT name FROM members WHERE email = $1", [email]),
        ]
    )

    assert inside == [{"name": "Ada"}]
    assert client("SELECT name FROM members WHERE email = $1", [email]) == [{"name": "Ada"}]


def test_a_transaction_whose_second_statement_fails_leaves_nothing_behind(client: Neon, email: str) -> None:
    insert = ("INSERT INTO members (email, name) VALUES ($1, $2)", [email, "Ada"])
    with pytest.raises(NeonDbError) as refused:
        client.transaction([insert, "SELECT 1 / 0"])

    assert refused.value.code == "22012"
    assert client("SELECT 1 FROM members WHERE email = $1", [email]) == []


def test_a_transaction_runs_at_the_level_it_asks_for(client: Neon) -> None:
    ask = """SELECT current_setting('transaction_isolation') AS level,
                    current_setting('transaction_read_only') AS ro"""

    [rows] = client.transaction([ask], isolation_level="RepeatableRead", read_only=True)

    assert rows == [{"level": "repeatable read", "ro": "on"}]


def test_a_database_error_keeps_its_fields(client: Neon, email: str) -> None:
    insert = "INSERT INTO members (email, name) VALUES ($1, $2)"
    client(insert, [email, "Ada"])
    with pytest.raises(NeonDbError, match="duplicate key") as refused:
        client(insert, [email, "Eve"])

    assert (refused.value.status, refused.value.code, refused.value.table) == (400, "23505", "members")
    assert "email" in (refused.value.constraint or "")


def test_a_wrong_key_is_an_error_with_a_code(gateway: RunningGateway, tenant: RunningTenant) -> None:
    forged = tenant.connection_string.replace(quote(tenant.key, safe=""), "tg_wrong_key")
    with (
        neon(forged, endpoint=f"{gateway.url}/sql") as stranger,
        pytest.raises(NeonDbError, match="authentication") as refused,
    ):
        stranger("SELECT 1")

    assert refused.value.code == "28P01"


async def test_requests_at_once_each_get_their_own_answer(async_client: AsyncNeon) -> None:
    answers = await asyncio.gather(*(async_client("SELECT $1::int AS n", [n]) for n in range(20)))

    assert answers == [[{"n": n}] for n in range(20)]


async def test_the_async_client_has_transactions_too(async_client: AsyncNeon) -> None:
    assert await async_client.transaction(["SELECT 1 AS a", ("SELECT $1::text AS b", ["x"])]) == [
        [{"a": 1}],
        [{"b": "x"}],
    ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got."""

    status: int
    body: dict[str, object]


async def curl(gateway: RunningGateway, key: str, body: object) -> Answer:
    """One request by curl, the key as a bearer token."""
    program = shutil.which("curl")
    if program is None:
        lacking("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        program,
        *("--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"),
        *("--header", f"Authorization: Bearer {key}", "--json", json.dumps(body), f"{gateway.url}/sql"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(CURL_S):
        said, _ = await process.communicate()
    text, _, status = said.decode().rpartition("\n")
    return Answer(int(status), json.loads(text))


async def test_curl_with_a_key_gets_rows_as_objects_with_json_values(
    gateway: RunningGateway, tenant: RunningTenant
) -> None:
    asked = {
        "query": "SELECT $1::int AS n, true AS yes, '7'::int8 AS big, ARRAY[1, 2] AS list",
        "params": [1],
    }

    answer = await curl(gateway, tenant.key, asked)

    assert answer.status == 200
    assert answer.body["rows"] == [{"n": 1, "yes": True, "big": "7", "list": [1, 2]}]


async def test_curl_can_send_a_batch(gateway: RunningGateway, tenant: RunningTenant) -> None:
    answer = await curl(
        gateway, tenant.key, {"queries": [{"query": "SELECT 1 AS a"}, {"query": "SELECT 2 AS a"}]}
    )

    results = answer.body["results"]
    assert isinstance(results, list)
    assert [result["rows"] for result in results] == [[{"a": 1}], [{"a": 2}]]


async def test_curl_sees_the_honest_status(gateway: RunningGateway, tenant: RunningTenant) -> None:
    wrong_key = await curl(gateway, "tg_wrong_key", {"query": "SELECT 1"})
    no_table = await curl(gateway, tenant.key, {"query": "SELECT * FROM nowhere_to_be_found"})
    duplicate = await curl(
        gateway,
        tenant.key,
        {"query": "INSERT INTO members (id, email, name) SELECT id, email, name FROM members LIMIT 1"},
    )

    assert (wrong_key.status, wrong_key.body["code"]) == (401, "28P01")
    assert (no_table.status, no_table.body["code"]) == (404, "42P01")
    assert (duplicate.status, duplicate.body["code"]) == (409, "23505")
