"""A TCP proxy on loopback between a client and Postgres, that counts, slows and breaks what passes.

What is done to the proxy is done to every connection, what is done to one `Passage` to that one.
Holds at most one piece of 64 KiB a direction, so that backpressure goes through it.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

_PIECE_BYTES = 65536
_SLICES_A_S = 20
_DIALS_KEPT = 100_000
_CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e"  # PostgreSQL 18, 54.7, CancelRequest: 16 bytes, 80877102


class Faults:
    """What pieces suffer on their way.

    Attributes:
        delay_s: How long each piece is held back, either way.
        bytes_per_s: How much passes in a second, both ways together; 0 sets no limit.
        swallowed: Set when a piece has met the black hole.
    """

    def __init__(self) -> None:
        self.delay_s = self.bytes_per_s = 0.0
        self.swallowed = asyncio.Event()
        self._flows = asyncio.Event()
        self._flows.set()
        self._room_bytes: int | None = None
        self._free_at = 0.0
        self._flips: dict[bool, tuple[int | None, int]] = {}

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

    def corrupt(self, at: int | None = None, *, bits: int = 0xFF, answers: bool = True) -> None:
        """Flip *bits* of the byte that comes after *at* others; None: a whole piece becomes 0xff.

        Args:
            answers: In what servers send; else in what clients send.
        """
        self._flips[answers] = at, bits

    def calm(self) -> None:
        """Do nothing more of what was asked for and has not happened yet."""
        self._flips.clear()
        self._room_bytes = None

    def slice_bytes(self) -> int:
        """As much as is taken in at once."""
        return max(1, int(self.bytes_per_s / _SLICES_A_S)) if self.bytes_per_s else _PIECE_BYTES

    async def suffer(self, piece: bytes, *, is_answer: bool) -> bytes:
        """What is left of *piece*, once it may go on."""
        if not self._flows.is_set():
            self.swallowed.set()
            await self._flows.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.bytes_per_s:
            now = asyncio.get_running_loop().time()
            self._free_at = max(now, self._free_at) + len(piece) / self.bytes_per_s
            await asyncio.sleep(self._free_at - now)
        if is_answer in self._flips:
            piece = self._flip(piece, is_answer=is_answer)
        return piece

    def _flip(self, piece: bytes, *, is_answer: bool) -> bytes:
        at, bits = self._flips.pop(is_answer)
        if at is None:
            return b"\xff" * len(piece)
        if at >= len(piece):
            self._flips[is_answer] = at - len(piece), bits
            return piece
        return piece[:at] + bytes([piece[at] ^ bits]) + piece[at + 1 :]

    async def pause(self, piece: bytes, sink: asyncio.StreamWriter) -> bytes:
        """What is left of an answer's *piece*, once everything may go on."""
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


class Passage(Faults):
    """One connection through the proxy: the client's end and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        super().__init__()
        self.client = client
        self.server = server
        self.asked = self.is_deaf = False

    def cut(self) -> None:
        """Reset both ends, as a crashed router in between would."""
        reset(self.client)
        reset(self.server)

    def half_close(self) -> None:
        """Tell the client that its server will say no more; what it says itself still arrives."""
        if not self.is_deaf and not self.client.is_closing():
            self.is_deaf = True
            self.client.write_eof()


class Proxy(Faults):
    """Forwards each connection to one server, as faithfully as it is told to.

    Attributes:
        round_trips: How often the traffic turned from client→server to server→client, on all connections.
        accepted: Connections taken so far.
        dialled_at: When clients dialled, refused ones included, on the event loop's clock.
        is_down: New connections are reset at once.
        keeps_open: Clients do not hear that a server has hung up.
        records: Keep what is said.
        said: What servers said on all connections, while `records`.
        cancels: The cancel requests that clients sent, as they were.
        passages: The connections open now.
    """

    def __init__(self, to_host: str, to_port: int) -> None:
        super().__init__()
        self.to_host, self.to_port = to_host, to_port
        self.host, self.port = "", 0
        self.round_trips = self.accepted = 0
        self.dialled_at: deque[float] = deque(maxlen=_DIALS_KEPT)
        self.is_down = self.keeps_open = self.records = False
        self.said = bytearray()
        self.cancels: list[bytes] = []
        self.passages: set[Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Connections open now."""
        return len(self.passages)

    def dials_per_s(self, *, since: float = 0.0) -> int:
        """The most dials in any one second that began at *since* or later."""
        return busiest(at for at in self.dialled_at if at >= since)

    def cut(self) -> None:
        """Reset every connection."""
        for passage in self.passages:
            passage.cut()

    def half_close(self) -> None:
        """Half-close every connection."""
        for passage in self.passages:
            passage.half_close()

    def take(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.dialled_at.append(asyncio.get_running_loop().time())
        if self.is_down:
            reset(client)
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
            self.passages.add(passage)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(passage, reader, server), name="client to server")
                pumps.create_task(self._pump(passage, from_server, client), name="server to client")
        except* OSError:
            pass  # either end is gone: so is the other, below
        finally:
            client.transport.abort()
            if passage is not None:
                self.passages.discard(passage)
                passage.cut()

    async def _pump(self, passage: Passage, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        is_answer = sink is passage.client
        while piece := await source.read(min(self.slice_bytes(), passage.slice_bytes())):
            for faults in (self, passage):
                piece = await faults.suffer(piece, is_answer=is_answer)
            if is_answer:
                self.round_trips += passage.asked
                passage.asked = False
                if self.records:
                    self.said += piece
                for faults in (self, passage):
                    piece = await faults.pause(piece, sink)
                if passage.is_deaf:
                    continue
            else:
                passage.asked = True
                if piece[:8] == _CANCEL:
                    self.cancels.append(piece)
            sink.write(piece)
            await sink.drain()
        if not sink.is_closing() and not (is_answer and (self.keeps_open or passage.is_deaf)):
            sink.write_eof()

    async def stop(self) -> None:
        """End every connection, and return when nothing of it runs any more."""
        self.cut()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset: whoever reads at the other end gets an error, not an end."""
    if not writer.transport.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def busiest(moments: Iterable[float], *, within_s: float = 1.0) -> int:
    """The most of *moments*, which ascend, that lie *within_s* of each other."""
    most, window = 0, deque[float]()
    for at in moments:
        window.append(at)
        while window[0] <= at - within_s:
            window.popleft()
        most = max(most, len(window))
    return most


@asynccontextmanager
async def open_proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy to the server at *host* and *port*; everything through it is cut at the end."""
    proxy = Proxy(host, port)
    listening = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.host, proxy.port = listening.sockets[0].getsockname()[:2]
    try:
        yield proxy
    finally:
        listening.close()
        await proxy.stop()
        await listening.wait_closed()
