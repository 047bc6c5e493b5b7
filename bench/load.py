"""An HTTP load of known concurrency, from one process, at a few microseconds a request.

Raw sockets with keep-alive, one request outstanding on each connection, no pipelining: a
closed loop, so a slow server is asked less often. Latency is from the write of a request to
the last byte of its answer. It reads only what HTTP/1.1 servers send with a content-length.
"""

import asyncio
import gc
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import cast

DRAIN_S = 10.0
_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length:"


class NoLength(Exception):
    """An answer has no content-length; this load cannot tell where it ends."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready to send, and how its answer is known to be right.

    Attributes:
        request: Head and body, as they go on the wire.
        expected: Bytes that the answer's body contains.
    """

    request: bytes
    expected: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """A server and what it is asked; the calls are taken in turn."""

    name: str
    host: str
    port: int
    calls: Sequence[Call]


@dataclass(slots=True)
class Sample:
    """What one round of a load saw.

    Attributes:
        took_s: From the first request to the last answer.
        cpu_s: Processor time of this process meanwhile.
        latencies_ns: One for each right answer, in no order.
        failures: Wrong answers, other statuses and lost connections, by what was wrong.
    """

    took_s: float = 0.0
    cpu_s: float = 0.0
    latencies_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return len(self.latencies_ns) / self.took_s if self.took_s else 0.0

    def fail(self, reason: str) -> None:
        """Count a failure."""
        self.failures[reason] = self.failures.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read whole."""

    status: int
    body: bytes


def request(method: str, target: str, host: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as bytes, with the headers that any client sends."""
    common = {"Host": host, "Accept": "application/json", "User-Agent": "bench"}
    if body:
        common |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**common, **headers}.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body


def answer_size(data: bytes) -> int | None:
    """Bytes of the answer that *data* begins with, or None while its head is incomplete.

    Raises:
        NoLength: The answer does not tell its length.
    """
    end = data.find(_HEAD_ENDS)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        raise NoLength
    stop = head.find(b"\r\n", at)
    return end + 4 + int(head[at + len(_LENGTH) : stop if stop >= 0 else end])


class _Caller(asyncio.Protocol):
    """One connection: asks, waits for the whole answer, asks again until the round is over."""

    def __init__(self, calls: Sequence[Call], first: int, sample: Sample) -> None:
        self._calls = islice(cycle(calls), first, None)
        self._sample = sample
        self._ends_ns = 0
        self._kept = b""
        self._began_ns = 0
        self._expected = b""
        self._transport: asyncio.WriteTransport | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is no subclass

    def begin(self, ends_ns: int) -> None:
        """Send the first request, and go on until *ends_ns* on the performance counter."""
        self._ends_ns = ends_ns
        self._ask()

    def _ask(self) -> None:
        call = next(self._calls)
        self._expected = call.expected
        self._began_ns = time.perf_counter_ns()
        if self._transport is not None:
            self._transport.write(call.request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        if self._kept:
            data = self._kept + data
        try:
            size = answer_size(data)
        except NoLength:
            self._sample.fail("no content-length")
            self._end()
            return
        if size is None or len(data) < size:
            self._kept = data
            return
        self._kept = b""
        if data[9:12] != b"200":
            self._sample.fail(f"status {data[9:12].decode(errors='replace')}")
        elif self._expected not in data:
            self._sample.fail("wrong answer")
        else:
            self._sample.latencies_ns.append(now_ns - self._began_ns)
        if now_ns < self._ends_ns:
            self._ask()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        if not self.over.done():
            self._sample.fail("connection lost")
            self.over.set_result(None)

    def _end(self) -> None:
        self.over.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run_load(target: Target, *, connections: int, seconds: float) -> Sample:
    """One round: *connections* callers for *seconds*, then the answers still due.

    Raises:
        TimeoutError: Answers were still missing DRAIN_S after the end.
    """
    sample = Sample()
    callers = [
        await _connect(target, n * len(target.calls) // connections, sample) for n in range(connections)
    ]
    gc.collect()
    gc.disable()  # a pause of ours would look like one of theirs
    try:
        began_ns, began_cpu_s = time.perf_counter_ns(), time.process_time()
        for caller in callers:
            caller.begin(began_ns + int(seconds * 1e9))
        async with asyncio.timeout(seconds + DRAIN_S):
            await asyncio.gather(*(caller.over for caller in callers))
        sample.took_s = (time.perf_counter_ns() - began_ns) / 1e9
        sample.cpu_s = time.process_time() - began_cpu_s
    finally:
        gc.enable()
    return sample


async def _connect(target: Target, first: int, sample: Sample) -> _Caller:
    def made() -> _Caller:
        return _Caller(target.calls, first, sample)

    _, caller = await asyncio.get_running_loop().create_connection(made, target.host, target.port)
    return caller


async def call_once(target: Target, call: Call) -> Answer:
    """Send one request on a connection of its own and read the whole answer."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(call.request)
        head = await reader.readuntil(_HEAD_ENDS)
        size = answer_size(head)
        assert size is not None  # noqa: S101 - the head is complete
        return Answer(int(head[9:12]), await reader.readexactly(size - len(head)))
    finally:
        writer.close()
