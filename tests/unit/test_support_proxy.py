"""The proxy that breaks things breaks what it is told to, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.proxy import Passage, Proxy, busiest, open_proxy
from tests.support.waiting import wait_until

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server, open_proxy(host, port) as opened:
        yield opened


@pytest.fixture
async def dial(proxy: Proxy) -> AsyncIterator[Dial]:
    """Opens connections through the proxy, and closes them in the end."""
    writers: list[asyncio.StreamWriter] = []

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writers.append(writer)
        return reader, writer

    yield opened
    for writer in writers:
        writer.transport.abort()


async def dial_through(
    proxy: Proxy, dial: Dial
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Passage]:
    known = set(proxy.passages)
    reader, writer = await dial()
    await wait_until(lambda: proxy.passages - known, what="the proxy to carry it")
    [passage] = proxy.passages - known
    return reader, writer, passage


async def said_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """What comes back of *text* within a second; less when it does not."""
    writer.write(text)
    heard = b""
    try:
        async with asyncio.timeout(1):
            while len(heard) < len(text) and (piece := await reader.read(65536)):
                heard += piece
    except TimeoutError:
        pass
    return heard


async def test_what_nobody_breaks_passes(proxy: Proxy, dial: Dial) -> None:
    reader, writer, _ = await dial_through(proxy, dial)
    text = bytes(range(256)) * 2000

    assert await said_back(reader, writer, text) == text
    assert (proxy.accepted, proxy.open) == (1, 1)


async def test_one_connection_is_cut_and_the_other_goes_on(proxy: Proxy, dial: Dial) -> None:
    reader, _, passage = await dial_through(proxy, dial)
    others = (await dial_through(proxy, dial))[:2]
    passage.cut()

    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    assert await said_back(*others, b"hello") == b"hello"


async def test_one_connection_is_held_and_the_other_goes_on(proxy: Proxy, dial: Dial) -> None:
    reader, writer, passage = await dial_through(proxy, dial)
    others = (await dial_through(proxy, dial))[:2]
    passage.blackhole()
    writer.write(b"later")
    async with asyncio.timeout(5):
        await passage.swallowed.wait()

    assert await said_back(*others, b"hello") == b"hello"
    passage.flow()
    assert await reader.readexactly(5) == b"later"


async def test_a_flow_of_so_many_bytes_a_second_takes_its_time(proxy: Proxy, dial: Dial) -> None:
    reader, writer, passage = await dial_through(proxy, dial)
    loop = asyncio.get_running_loop()
    passage.bytes_per_s = 40_000  # both ways: there and back is 20,000
    began = loop.time()

    assert await said_back(reader, writer, b"x" * 10_000) == b"x" * 10_000
    assert 0.4 < loop.time() - began < 5


@pytest.mark.parametrize("said_by", ["server", "client"])
async def test_the_byte_that_was_meant_is_flipped(proxy: Proxy, dial: Dial, said_by: str) -> None:
    reader, writer, passage = await dial_through(proxy, dial)
    passage.corrupt(7, bits=0x01, answers=said_by == "server")

    assert await said_back(reader, writer, b"00000") == b"00000"
    assert await said_back(reader, writer, b"00000") == b"00100"
    assert await said_back(reader, writer, b"00000") == b"00000"


async def test_a_half_closed_connection_still_carries_what_its_client_says(proxy: Proxy, dial: Dial) -> None:
    reader, _, passage = await dial_through(proxy, dial)
    passage.half_close()

    assert await reader.read() == b""
    assert not passage.server.transport.is_closing()


async def test_dials_are_counted_those_that_are_refused_too(proxy: Proxy, dial: Dial) -> None:
    await dial_through(proxy, dial)
    proxy.is_down = True
    for _ in range(4):
        reader, _ = await dial()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)

    assert (proxy.accepted, len(proxy.dialled_at), proxy.dials_per_s()) == (1, 5, 5)


def test_the_busiest_second_is_found_wherever_it_begins() -> None:
    assert busiest([0.0, 0.9, 1.1, 1.2, 1.85, 2.0, 5.0]) == 4
    assert busiest([]) == 0
