"""The socket beneath a connection: a number that is given up is nobody's, and the end is waited for."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import cast

import pytest
from psycopg.pq.abc import PGconn

from pools.line import Line


@dataclass(frozen=True, slots=True)
class Lent:
    """What a line asks of libpq when it begins: its descriptor."""

    socket: int


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    return near, far


@pytest.fixture(params=["tcp", "unix"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection."""
    near, far = tcp_pair() if request.param == "tcp" else socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
async def line(ends: tuple[socket.socket, socket.socket]) -> AsyncIterator[Line]:
    line = Line(cast("PGconn", Lent(ends[0].fileno())))
    yield line
    line.close()


async def test_the_end_is_when_the_other_end_has_closed(
    ends: tuple[socket.socket, socket.socket], line: Line
) -> None:
    near, far = ends
    near.close()
    ending = asyncio.create_task(line.end())
    far.setblocking(False)  # noqa: FBT003 - the socket's own way
    heard = await asyncio.get_running_loop().sock_recv(far, 10)
    far.send(b"still here")
    assert heard == b""
    assert not ending.done()

    far.close()
    await ending


async def test_a_descriptor_that_libpq_gave_up_may_be_somebody_elses_at_once(
    ends: tuple[socket.socket, socket.socket], line: Line
) -> None:
    """The number came back on another connection, and letting go of the old one silenced the new."""
    near, _ = ends
    called = asyncio.Event()
    line.listen(lambda: None)
    number = near.detach()
    os.close(number)
    other, other_end = socket.socketpair()
    with other_end, socket.socket(fileno=other.detach()) as taken:
        if taken.fileno() != number:
            os.dup2(taken.fileno(), number)
        asyncio.get_running_loop().add_reader(number, called.set)
        line.ignore()
        other_end.send(b"x")

        async with asyncio.timeout(5):
            await called.wait()
        asyncio.get_running_loop().remove_reader(number)
        if taken.fileno() != number:
            os.close(number)


async def test_closing_again_changes_nothing(line: Line) -> None:
    line.listen(lambda: None)
    line.await_room(lambda: None)

    line.close()
    line.ignore()
    line.close()
