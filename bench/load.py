"""An HTTP load of known concurrency, from one process, at a few microseconds a request.

Raw sockets with keep-alive, one request outstanding on each connection, no pipelining: a
closed loop, so a slow server is asked less often. Latency is from the write of a request to
the last byte of its answer. It reads only what HTTP/1.1 servers send with a content-length.
"""

import asyncio
import gc
import re
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import cast

DRAIN_S = 40.0  # longer than a gateway lets a request take
_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_ERROR = re.compile(rb"\r\ntiergate-error: ([a-z-]+)")


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


def refusal(data: bytes) -> str:
    """What an answer that is not 200 says it is: the gateway's code, or else the status."""
    told = _ERROR.search(data)
    return told[1].decode() if told else f"status {data[9:12].decode(errors='replace')}"


class _Caller(asyncio.Protocol):
    """One connection: asks, waits for the whole answer, asks again until the round or its calls are over."""

    def __init__(self, calls: Iterator[Call], sample: Sample, every_ns: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._every_ns = every_ns
        self._calls = calls
        self._sample = sample
        self._ends_ns = 0
        self._kept = b""
        self._began_ns = 0
        self._expected = b""
        self._transport: asyncio.WriteTransport | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own class is no subclass

    def begin(self, ends_ns: int, due_ns: int = 0) -> None:
        """Ask, the first request being due since *due_ns*, until *ends_ns* on the performance counter."""
        self._ends_ns = ends_ns
        self._ask(due_ns)

    def _ask(self, due_ns: int = 0) -> None:
        call = next(self._calls, None)
        if call is None:
            self._end()
            return
        self._expected = call.expected
        self._began_ns = due_ns or time.perf_counter_ns()
        if self._transport is not None:
            self._transport.write(call.request)

    def _ask_on_time(self, now_ns: int) -> None:
        """Ask when the next request is due; one that is late counts from when it was."""
        due_ns = self._began_ns + self._every_ns
        if due_ns <= now_ns:
            self._ask(due_ns)
        else:
            self._loop.call_later((due_ns - now_ns) / 1e9, self._ask, due_ns)

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
            self._sample.fail(refusal(data))
        elif self._expected not in data:
            self._sample.fail("wrong answer")
        else:
            self._sample.latencies_ns.append(now_ns - self._began_ns)
        if now_ns >= self._ends_ns:
            self._end()
        elif self._every_ns:
            self._ask_on_time(now_ns)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        if not self.over.done():
            self._sample.fail("connection lost")
            self.over.set_result(None)

    def _end(self) -> None:
        self.over.set_result(None)
        if self._transport is not None:
            self._transport.close()


async def run_load(target: Target, *, connections: int, seconds: float, every_s: float = 0.0) -> Sample:
    """One round: *connections* callers for *seconds*, then the answers still due.

    Args:
        every_s: Each caller asks so often, as far as it is answered in time; a latency counts from when
            its request was due. 0 asks again at once.

    Raises:
        TimeoutError: Answers were still missing DRAIN_S after the end.
    """
    sample = Sample()
    callers = [
        await _connect(target, _from(target, n * len(target.calls) // connections), sample, every_s)
        for n in range(connections)
    ]
    await _run(callers, sample, seconds=seconds)
    return sample


async def run_once(target: Target, *, connections: int, within_s: float) -> Sample:
    """Each of the target's calls once, as far as *within_s* allows, shared out among *connections* callers.

    Raises:
        TimeoutError: As above.
    """
    sample = Sample()
    callers = [await _connect(target, iter(target.calls[n::connections]), sample) for n in range(connections)]
    await _run(callers, sample, seconds=within_s)
    return sample


async def _run(callers: Sequence[_Caller], sample: Sample, *, seconds: float) -> None:
    with _timed(sample):
        ends_ns = time.perf_counter_ns() + int(seconds * 1e9)
        for caller in callers:
            caller.begin(ends_ns)
        async with asyncio.timeout(seconds + DRAIN_S):
            await asyncio.gather(*(caller.over for caller in callers))


async def run_arrivals(target: Target, *, count: int, within_s: float) -> Sample:
    """*count* callers who come evenly spread over *within_s*, ask once and go; latencies count from the dial.

    Raises:
        TimeoutError: Answers were still missing DRAIN_S after the last had come.
    """
    sample = Sample()

    async def arrive(number: int) -> None:
        await asyncio.sleep(number * within_s / count)
        began_ns = time.perf_counter_ns()
        caller = await _connect(target, _from(target, number), sample)
        caller.begin(0, due_ns=began_ns)
        await caller.over

    with _timed(sample):
        async with asyncio.timeout(within_s + DRAIN_S), asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(arrive(number), name=f"arrival {number}")
    return sample


@contextmanager
def _timed(sample: Sample) -> Iterator[None]:
    gc.collect()
    gc.disable()  # a pause of ours would look like one of theirs
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    try:
        yield
        sample.took_s = time.perf_counter() - began_s
        sample.cpu_s = time.process_time() - began_cpu_s
    finally:
        gc.enable()


def _from(target: Target, first: int) -> Iterator[Call]:
    """The target's calls over and over, from one of them on."""
    return islice(cycle(target.calls), first % len(target.calls), None)


async def _connect(target: Target, calls: Iterator[Call], sample: Sample, every_s: float = 0.0) -> _Caller:
    def made() -> _Caller:
        return _Caller(calls, sample, int(every_s * 1e9))

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
