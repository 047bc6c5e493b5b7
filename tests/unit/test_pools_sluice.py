"""The sluice: everything passes in its order, in pieces, counted once, and nothing is left in between."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import psycopg
import pytest
from psycopg.pq.abc import PGconn

from pools.sluice import Sluice

PIECE_BYTES = 64 * 1024


class Reader:
    """What a sluice asks of libpq: at each look it takes as much as it has room for."""

    def __init__(self, end: socket.socket, room_bytes: int, *, ssl_in_use: bool) -> None:
        self._end = end
        self._room_bytes = room_bytes
        self.ssl_in_use = ssl_in_use
        self.socket = end.fileno()
        self.got = b""
        self.looks = 0

    def consume_input(self) -> None:
        self.looks += 1
        try:
            come = os.read(self.socket, self._room_bytes)
        except BlockingIOError:
            return
        self.got += come
        if not come:
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    def send(self, text: bytes) -> None:
        assert os.write(self.socket, text) == len(text)


class Stretch:
    """A server, a sluice and a reader, one behind the other."""

    def __init__(self, stack: ExitStack, *, room_bytes: int = 8192, ssl_in_use: bool = False) -> None:
        near, self.server = (stack.enter_context(end) for end in socket.socketpair())
        beneath = stack.enter_context(socket.socket(fileno=os.dup(near.fileno())))
        beneath.setblocking(False)  # noqa: FBT003 - the socket's own way
        self.beneath = beneath
        self.reader = Reader(near, room_bytes, ssl_in_use=ssl_in_use)
        self.sluice = Sluice(cast("PGconn", self.reader), beneath)
        stack.callback(self.sluice.close)

    async def let_in(self, size: int) -> None:
        """As soon as something comes, until the reader has *size* bytes."""
        loop = asyncio.get_running_loop()
        while len(self.reader.got) < size:
            come = asyncio.Event()
            loop.add_reader(self.beneath, come.set)
            await come.wait()
            loop.remove_reader(self.beneath)
            before = len(self.reader.got)
            self.sluice.let_in()
            assert 0 < len(self.reader.got) - before <= PIECE_BYTES


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("room_bytes", [5000, 8192, 1 << 20])
@pytest.mark.parametrize("ssl_in_use", [False, True])
async def test_all_that_comes_is_given_in_order_and_in_pieces_and_counted_once(
    stack: ExitStack, room_bytes: int, *, ssl_in_use: bool
) -> None:
    stretch = Stretch(stack, room_bytes=room_bytes, ssl_in_use=ssl_in_use)
    sent = os.urandom(1_000_000)
    sending = asyncio.create_task(asyncio.to_thread(stretch.server.sendall, sent))
    await stretch.let_in(len(sent))
    await sending

    assert stretch.reader.got == sent
    assert stretch.sluice.passed == len(sent)


async def test_who_enciphers_is_asked_once_more_for_what_is_held_back(stack: ExitStack) -> None:
    """OpenSSL hands out a record in two parts where there is no room for the whole of it."""
    stretch = Stretch(stack, ssl_in_use=True)
    stretch.server.sendall(b"x" * 100)
    await stretch.let_in(100)

    assert stretch.reader.looks == 2


async def test_what_is_sent_goes_on_in_order_also_when_the_server_is_slow(stack: ExitStack) -> None:
    stretch = Stretch(stack)
    stretch.server.settimeout(10)
    sent, heard = b"", bytearray()
    for number in range(5):
        part = bytes([number]) * 50_000
        is_full = False
        while not is_full:
            stretch.reader.send(part)
            sent += part
            is_full = stretch.sluice.let_out()
        stretch.reader.send(part)
        sent += part
        while stretch.sluice.let_out():
            heard += stretch.server.recv(1_000_000)
        while len(heard) < len(sent):  # it said that nothing is left
            heard += stretch.server.recv(1_000_000)

    assert heard == sent


async def test_the_end_is_told_behind_all_that_came(stack: ExitStack) -> None:
    stretch = Stretch(stack)
    stretch.server.sendall(b"last words")
    stretch.server.close()
    await stretch.let_in(10)
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="closed"):
            stretch.sluice.let_in()

    assert stretch.reader.got == b"last words"


async def test_nothing_to_let_in_or_out_is_no_fault(stack: ExitStack) -> None:
    stretch = Stretch(stack)
    stretch.sluice.let_in()

    assert not stretch.sluice.let_out()
    assert stretch.sluice.passed == 0


async def test_a_goodbye_still_goes_out_when_libpq_has_closed(stack: ExitStack) -> None:
    stretch = Stretch(stack)
    stretch.reader.send(b"X\0\0\0\x04")
    os.dup2(os.open(os.devnull, os.O_RDONLY), stretch.reader.socket)
    for _ in range(2):
        assert not stretch.sluice.let_out()

    assert stretch.server.recv(100) == b"X\0\0\0\x04"


async def test_without_descriptors_the_connection_is_lost_and_stays_whole(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stretch = Stretch(stack)

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(psycopg.OperationalError, match="Too many open files"):
        Sluice(cast("PGconn", stretch.reader), stretch.beneath)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
