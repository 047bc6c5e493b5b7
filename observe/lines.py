"""The writer of log lines: a thread of its own, so that a slow reader of stderr never holds up a request."""

import queue
import sys
import threading
from types import TracebackType
from typing import BinaryIO, Self

import orjson

MOST_LINES = 20_000
"""Lines that may wait for a slow reader; what comes beyond is counted and dropped."""

_BATCH = 500


class LineWriter:
    """Writes JSON objects as lines, in order, from a thread of its own.

    A context manager; leaving it writes what waits, for *close_s* at most. Threads do not
    survive a fork: open it in the process that uses it.

    Args:
        stream: Where lines go; standard error when not given.
    """

    def __init__(self, stream: BinaryIO | None = None, *, close_s: float = 2.0) -> None:
        self._stream = stream if stream is not None else sys.stderr.buffer
        self._close_s = close_s
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join(self._close_s)

    def write(self, line: dict[str, object]) -> None:
        """Have *line* written soon; never waits."""
        if self._queue.qsize() >= MOST_LINES:
            self._dropped += 1
            return
        if self._dropped:
            line = {**line, "lines_dropped": self._dropped}
            self._dropped = 0
        self._queue.put(orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

    def _run(self) -> None:
        ending = False
        while not ending:
            lines = [self._queue.get()]
            while len(lines) < _BATCH and not self._queue.empty():
                lines.append(self._queue.get())
            ending = lines[-1] is None
            try:
                self._stream.write(b"".join(line for line in lines if line is not None))
                self._stream.flush()
            except (OSError, ValueError):
                return  # whoever read us has gone; there is nobody left to tell
