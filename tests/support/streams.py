"""How tests read a streamed answer: line by line, slowly, or not at all."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.http import request

Told = dict[str, Any]  # JSON
NDJSON = "application/x-ndjson"


@asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, url: str, key: str, body: object, **headers: str
) -> AsyncIterator[httpx.Response]:
    """Ask for a stream; its lines are yet to be read. Headers are written with underscores."""
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    known |= {"authorization": f"Bearer {key}", "accept": NDJSON}
    async with client.stream("POST", f"{url}/sql", json=body, headers=known) as answer:
        yield answer


async def stream(client: httpx.AsyncClient, url: str, key: str, body: object, **headers: str) -> list[Told]:
    """All lines of a streamed answer."""
    async with open_stream(client, url, key, body, **headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == NDJSON
        return [json.loads(line) async for line in answer.aiter_lines()]


def kinds(lines: list[Told]) -> list[str]:
    """The first key of each line, one for each run of rows."""
    found: list[str] = []
    for line in lines:
        kind = next(iter(line))
        if kind != "row" or found[-1:] != ["row"]:
            found.append(kind)
    return found


@contextmanager
def lazy_reader(url: str, key: str, query: str) -> Iterator[socket.socket]:
    """A caller who has asked for a stream and reads only what the test reads; little waits on its side."""
    at = urlsplit(url)
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(20)
        caller.connect((at.hostname, at.port))
        caller.sendall(request(key, json.dumps({"query": query}).encode(), f"Accept: {NDJSON}"))
        yield caller


async def read_some(caller: socket.socket, size: int) -> bytes:
    """At least *size* bytes, unless the gateway has cut the answer off."""
    read = b""
    while len(read) < size:
        try:
            piece = await asyncio.to_thread(caller.recv, 65536)
        except ConnectionError:
            break
        if not piece:
            break
        read += piece
    return read
