"""Cutting a caller off, whatever has become of its connection."""

import asyncio

import pytest

from router.connection import Connection

LARGE = b"x" * 50_000_000


class Server(asyncio.Protocol):
    """Its one connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.made, self.lost = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell of it."""
        self.lost.set()


def cut_off(transport: asyncio.Transport) -> None:
    connection = Connection.__new__(Connection)  # of all of it the reset needs this alone
    connection.transport = transport
    connection._reset()


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_caller_is_cut_off_also_while_its_connection_ends_and_when_it_has_ended(
    *, is_gone: bool
) -> None:
    server = Server()
    listening = await asyncio.get_running_loop().create_server(lambda: server, "127.0.0.1", 0)
    _, caller = await asyncio.open_connection(*listening.sockets[0].getsockname())
    async with asyncio.timeout(10):
        await server.made.wait()
        assert server.transport is not None
        if is_gone:
            server.transport.abort()
            await server.lost.wait()
        else:  # the caller reads nothing, so that this would last
            server.transport.write(LARGE)
            server.transport.close()
        cut_off(server.transport)
        await server.lost.wait()
    caller.close()
    listening.close()
