"""Keys are read once for many, seldom, and outlive the issuer's outages."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from router.errors import KeySetUnavailable
from router.keyset import MIN_INTERVAL_S, KeySet, from_url, read_keys
from tiergate.deadline import Deadline

PUBLIC = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
TTL_S = 300


def key_set(*kids: str) -> bytes:
    return json.dumps({"keys": [{**PUBLIC, "kid": kid} for kid in kids]}).encode()


class Issuer:
    """Publishes a key set, or fails, or keeps its readers waiting."""

    def __init__(self, *kids: str) -> None:
        self.text: bytes | Exception = key_set(*kids)
        self.readings = 0
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.now = 1000.0
        self.keys = KeySet("https://issuer.test/", self.read, ttl_s=TTL_S, now=lambda: self.now)

    async def read(self) -> bytes:
        self.readings += 1
        self.asked.set()
        await self.may_answer.wait()
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    async def find(self, kid: str | None = "a", *, within_s: float = 60) -> list[str | None]:
        return [key.kid for key in await self.keys.find("EdDSA", kid, Deadline.after(within_s))]


async def test_keys_are_read_once_until_they_are_old() -> None:
    issuer = Issuer("a")

    for _ in range(3):
        assert await issuer.find() == ["a"]
    assert issuer.readings == 1

    issuer.now += TTL_S
    assert await issuer.find() == ["a"]
    assert issuer.readings == 2


async def test_many_who_ask_at_once_share_one_reading() -> None:
    issuer = Issuer("a")

    assert await asyncio.gather(*(issuer.find() for _ in range(20))) == [["a"]] * 20
    assert issuer.readings == 1


async def test_an_unknown_key_is_looked_for_once_and_not_again_for_a_while() -> None:
    issuer = Issuer("a")
    await issuer.find()
    issuer.now += MIN_INTERVAL_S
    issuer.text = key_set("a", "b")

    assert await asyncio.gather(*(issuer.find("b") for _ in range(20))) == [["b"]] * 20
    for number in range(20):
        assert await issuer.find(f"none-{number}") == []
    assert issuer.readings == 2

    issuer.now += MIN_INTERVAL_S
    assert await issuer.find("none") == []
    assert issuer.readings == 3


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("down"),
        OSError("gone"),
        b"not json",
        b"[]",
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct"}]}',
    ],
)
async def test_the_last_good_keys_serve_while_reading_fails(failure: bytes | Exception) -> None:
    issuer = Issuer("a")
    await issuer.find()
    issuer.text = failure

    for _ in range(5):
        issuer.now += TTL_S
        assert await issuer.find() == ["a"]


async def test_without_any_keys_the_set_is_unavailable_and_not_asked_for_in_a_loop() -> None:
    issuer = Issuer("a")
    issuer.text = httpx.ConnectError("down")

    for _ in range(5):
        with pytest.raises(KeySetUnavailable):
            await issuer.find()
    assert issuer.readings == 1

    issuer.now += MIN_INTERVAL_S
    issuer.text = key_set("a")
    assert await issuer.find() == ["a"]


async def test_who_has_old_keys_does_not_wait_for_someone_elses_reading() -> None:
    issuer = Issuer("a")
    await issuer.find()
    issuer.now += TTL_S
    issuer.may_answer.clear()
    issuer.asked.clear()
    reader = asyncio.create_task(issuer.find())
    await issuer.asked.wait()

    assert await issuer.find() == ["a"]

    issuer.may_answer.set()
    assert await reader == ["a"]


async def test_who_waits_reads_when_the_reader_was_cancelled() -> None:
    issuer = Issuer("a")
    issuer.may_answer.clear()
    reader = asyncio.create_task(issuer.find())
    await issuer.asked.wait()
    waiter = asyncio.create_task(issuer.find())
    reader.cancel()
    issuer.may_answer.set()

    assert await waiter == ["a"]
    assert issuer.readings == 2
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_request_without_time_left_does_not_keep_others_from_reading() -> None:
    issuer = Issuer("a")
    issuer.may_answer.clear()

    with pytest.raises(KeySetUnavailable):
        await issuer.find(within_s=0)

    issuer.may_answer.set()
    assert await issuer.find() == ["a"]


async def test_who_waits_for_a_reading_waits_no_longer_than_its_own_deadline() -> None:
    issuer = Issuer("a")
    issuer.may_answer.clear()
    reader = asyncio.create_task(issuer.find())
    await issuer.asked.wait()

    with pytest.raises(KeySetUnavailable):
        await issuer.find(within_s=0)

    issuer.may_answer.set()
    assert await reader == ["a"]


async def test_a_token_without_kid_gets_a_bounded_number_of_keys() -> None:
    issuer = Issuer(*map(str, range(100)))

    assert len(await issuer.find(None)) == 16


def test_unknown_kinds_of_keys_are_passed_over() -> None:
    strange = [
        {},
        7,
        {"kty": "XYZ"},
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": "P-1"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
    ]

    keys = read_keys(json.dumps({"keys": [*strange, {**PUBLIC, "kid": "a"}]}).encode())

    assert [key.kid for key in keys] == ["a"]


@asynccontextmanager
async def http_server(response: bytes) -> AsyncIterator[str]:
    """The URL of a server that gives *response* to whatever it is asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/keys"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def test_a_key_set_is_fetched_from_its_url() -> None:
    async with http_server(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + key_set("a")) as url:
        assert await from_url(url)() == key_set("a")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b" " * (1 << 21),
    ],
)
async def test_an_answer_that_is_no_key_set_is_not_taken_for_one(response: bytes) -> None:
    async with http_server(response) as url:
        with pytest.raises(ValueError, match=r"status|bytes"):
            await from_url(url)()


async def test_a_url_that_does_not_answer_is_an_error_that_the_key_set_knows() -> None:
    async with http_server(b"") as url:
        with pytest.raises(httpx.HTTPError):
            await from_url(url)()
