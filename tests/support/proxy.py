"""A TCP proxy on loopback between a client and Postgres, that counts, slows and breaks what passes.

Holds at most one piece of 64 KiB a direction, so that backpressure goes through it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PIECE_BYTES = 65536
_CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e"  # PostgreSQL 18, 54.7, CancelRequest: 16 bytes, 80877102


@dataclass(eq=False, slots=True)
class Passage:
    """One connection through the proxy: the client's end and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: bool = False

    def abort(self) -> None:
        """Reset both ends, as a crashed router in between would."""
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(eq=False, slots=True)
class Proxy:
    """Forwards each connection to one server, as faithfully as it is told to.

    Attributes:
        round_trips: How often the traffic turned from client→server to server→client, on all connections.
        accepted: Connections taken so far.
        delay_s: How long each piece is held back, either way.
        is_down: New connections are reset at once.
        keeps_open: Clients do not hear that a server has hung up.
        swallowed: Set when a piece has met the black hole.
        said: What servers said on all connections, while `records`.
        cancels: The cancel requests that clients sent, as they were.
    """

    to_host: str
    to_port: int
    host: str = ""
    port: int = 0
    round_trips: int = 0
    accepted: int = 0
    delay_s: float = 0.0
    is_down: bool = False
    keeps_open: bool = False
    swallowed: asyncio.Event = field(default_factory=asyncio.Event)
    records: bool = False
    said: bytearray = field(default_factory=bytearray)
    cancels: list[bytes] = field(default_factory=list)
    _room_bytes: int | None = None
    _corrupts: bool = False
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _passages: set[Passage] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self._passages)

    def cut(self) -> None:
        """Reset every connection."""
        for passage in self._passages:
            passage.abort()

    def blackhole(self) -> None:
        """Let nothing through, without a word to either end."""
        self.swallowed.clear()
        self._flows.clear()

    def pause_after(self, size_bytes: int) -> None:
        """Let clients hear that much more, and then nothing goes through."""
        self.swallowed.clear()
        self._room_bytes = size_bytes

    def flow(self) -> None:
        """Let everything through again, what was held back first."""
        self._flows.set()

    def half_close(self) -> None:
        """Tell every client that its server will say no more; what it says itself still arrives."""
        for passage in self._passages:
            passage.client.write_eof()

    def corrupt(self) -> None:
        """Replace the next piece that a server sends by as many bytes that mean nothing."""
        self._corrupts = True

    def take(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        if self.is_down:
            client.transport.abort()
            return
        self.accepted += 1
        task = asyncio.create_task(self._carry(reader, client), name="carry a connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        passage: Passage | None = None
        try:
            from_server, server = await asyncio.open_connection(self.to_host, self.to_port)
            passage = Passage(client, server)
            self._passages.add(passage)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(passage, reader, server), name="client to server")
                pumps.create_task(self._pump(passage, from_server, client), name="server to client")
        except* OSError:
            pass  # either end is gone: so is the other, below
        finally:
            client.transport.abort()
            if passage is not None:
                self._passages.discard(passage)
                passage.abort()

    async def _pump(self, passage: Passage, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE_BYTES):
            if not self._flows.is_set():
                self.swallowed.set()
                await self._flows.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if sink is passage.server:
                passage.asked = True
                if piece[:8] == _CANCEL:
                    self.cancels.append(piece)
            else:
                self.round_trips += passage.asked
                passage.asked = False
                if self._corrupts:
                    self._corrupts, piece = False, b"\xff" * len(piece)
                if self.records:
                    self.said += piece
                piece = await self._pause(piece, sink)
            sink.write(piece)
            await sink.drain()
        if not sink.is_closing() and not (self.keeps_open and sink is passage.client):
            sink.write_eof()

    async def _pause(self, piece: bytes, sink: asyncio.StreamWriter) -> bytes:
        """What is left of *piece* once everything may go on."""
        if self._room_bytes is None:
            return piece
        if len(piece) < self._room_bytes:
            self._room_bytes -= len(piece)
            return piece
        sink.write(piece[: self._room_bytes])
        rest, self._room_bytes = piece[self._room_bytes :], None
        self.blackhole()
        self.swallowed.set()
        await self._flows.wait()
        return rest

    async def stop(self) -> None:
        """End every connection, and return when nothing of it runs any more."""
        self.cut()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy to the server at *host* and *port*; everything through it is cut at the end."""
    proxy = Proxy(host, port)
    proxy.flow()
    listening = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.host, proxy.port = listening.sockets[0].getsockname()[:2]
    try:
        yield proxy
    finally:
        listening.close()
        await proxy.stop()
        await listening.wait_closed()
