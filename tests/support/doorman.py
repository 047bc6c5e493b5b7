"""Stands where a Postgres should be, counts who knocks, and lets nobody in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from psycopg.conninfo import make_conninfo

from registry.placement import Placement


def refusal(code: str, routine: str = "ProcessStartupPacket") -> bytes:
    """A server's refusal at the door, in a language of its own.

    Source:
        PostgreSQL 18, 54.7 "Message Formats", ErrorResponse; 54.8 for its fields.
    """
    fields = f"SSCHADE\0VFATAL\0C{code}\0Mheute nicht\0Fpostinit.c\0L1\0R{routine}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


@dataclass(slots=True)
class Doorman:
    """Answers each dial with the same words, or not at all.

    Attributes:
        answer: What is said, before the close; None keeps silent, and the connection open.
        knocks: Dials so far.
        inside: Dials that wait for an answer now.
        most: The highest number of them so far.
    """

    answer: bytes | None
    port: int = 0
    knocks: int = 0
    inside: int = 0
    most: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one dial."""
        self.knocks += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        self._writers.add(writer)
        try:
            while await reader.read(65536):
                if self.answer is not None:
                    writer.write(self.answer)
                    break
        except OSError:
            pass  # the caller is gone
        finally:
            self.inside -= 1
            self._writers.discard(writer)
            writer.close()

    def before(self, placement: Placement) -> Placement:
        """*placement*, reached only by way of this door."""
        conninfo = make_conninfo(placement.place.conninfo, host="127.0.0.1", port=self.port)
        return replace(placement, place=replace(placement.place, conninfo=conninfo))

    def send_away(self) -> None:
        """Hang up on everybody."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def open_door(answer: bytes | None = None) -> AsyncIterator[Doorman]:
    """A doorman on a free port; everybody is sent away at the end."""
    doorman = Doorman(answer)
    listening = await asyncio.start_server(doorman.take, "127.0.0.1", 0)
    doorman.port = listening.sockets[0].getsockname()[1]
    try:
        yield doorman
    finally:
        listening.close()
        doorman.send_away()
        await listening.wait_closed()
