"""How tests speak HTTP with a gateway: through a library, and by hand for what no library would send."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        headers: By lower-case name.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # Any: JSON
        """The body, as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send *data*; what a peer that has hung up no longer takes is lost in silence."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def answer(self, *, within_s: float = _ANSWER_S) -> Answer:
        """The next answer, whole."""
        async with asyncio.timeout(within_s):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    async def is_over(self, *, within_s: float = _ANSWER_S) -> bool:
        """Whether the peer hangs up within that time, without another word."""
        try:
            async with asyncio.timeout(within_s):
                return not await self.reader.read(1)
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def hang_up(self) -> None:
        """Go away in the middle of it, by a reset."""
        self.writer.transport.abort()


@asynccontextmanager
async def open_line(url: str) -> AsyncIterator[Line]:
    """A new connection to *url*'s host and port."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(url: str, data: bytes) -> Answer:
    """Send *data* on a new connection; the first answer."""
    async with open_line(url) as line:
        await line.send(data)
        return await line.answer()


def head(
    key: str | None, *headers: str, method: str = "POST", path: str = "/sql", version: str = "HTTP/1.1"
) -> bytes:
    """A request's head, with *key* as bearer."""
    bearer = [] if key is None else [f"Authorization: Bearer {key}"]
    return lines([f"{method} {path} {version}", "Host: gateway", *bearer, *headers])


def lines(texts: Iterable[str]) -> bytes:
    """*texts* as a head, with the empty line that ends it."""
    return "".join(f"{text}\r\n" for text in (*texts, "")).encode("latin-1")


def request(key: str | None, body: bytes, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """A whole, ordinary request."""
    return head(key, *headers, f"Content-Length: {len(body)}", version=version) + body


def query(text: str, *params: object) -> bytes:
    """The body that asks for one statement."""
    return json.dumps({"query": text, "params": params}).encode()


REFUSAL = [
    "message", "code", "detail", "hint", "position", "internalPosition", "internalQuery", "severity", "where",
    "table", "column", "schema", "dataType", "constraint", "file", "line", "routine",
]  # fmt: skip
"""The keys of a refusal's body, in their order."""


@dataclass(frozen=True, slots=True)
class Door:
    """`POST /sql` of one gateway, through a client library that keeps its connections."""

    url: str
    client: httpx.AsyncClient

    async def post(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Send *body* as it is."""
        return await self.client.post(f"{self.url}/sql", content=body, headers=dict(headers))

    async def ask(self, key: str, text: str, *params: object, **headers: str) -> httpx.Response:
        """One statement. Headers are written with underscores."""
        return await self.post(query(text, *params), _with_key(key, headers))

    async def batch(self, key: str, *texts: str, **headers: str) -> httpx.Response:
        """Statements without parameters in one transaction."""
        body = json.dumps({"queries": [{"query": text} for text in texts]}).encode()
        return await self.post(body, _with_key(key, headers))

    async def rows(self, key: str, text: str, *params: object) -> list[list[Any]]:
        """The rows of one statement, as arrays; it must succeed."""
        answer = await self.ask(key, text, *params, neon_array_mode="true")
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows


def _with_key(key: str, headers: Mapping[str, str]) -> dict[str, str]:
    return {
        "authorization": f"Bearer {key}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


@asynccontextmanager
async def open_door(url: str) -> AsyncIterator[Door]:
    """The door of the gateway at *url*."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(limits=limits, timeout=40, verify=False, trust_env=False) as client:  # noqa: S501 - plain HTTP
        yield Door(url, client)


def assert_refused(
    answer: httpx.Response | Answer, code: str, status: int, sqlstate: str | None = None
) -> None:
    """It is a refusal as all are, of that kind, and tells nothing of how we are made."""
    said = answer.json()
    body = answer.body if isinstance(answer, Answer) else answer.content
    given = answer.status if isinstance(answer, Answer) else answer.status_code
    assert answer.headers["tiergate-error"] == code, said
    assert answer.headers["tiergate-status"] == str(status), said
    assert answer.headers["content-type"] == "application/json"
    assert given in {400, status}
    assert list(said) == REFUSAL
    assert sqlstate is None or said["code"] == sqlstate, said
    assert said["message"]
    assert not any(word in body for word in (b"Traceback", b".py", b"site-packages", b"Exception", b"0x"))
