"""The streamed answer of `/sql`: JSON, an object a line (`application/x-ndjson`).

The first key of a line says what it is: `fields`, `row`, `command`, and at the very end
`committed` or `error`. Never holds more than it is about to send.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import orjson

from pools.result import Field, Row
from router.answer import command_json, fields_json, shaped
from router.asgi import Send
from router.errors import ReaderTooSlow
from router.problems import Problem

LINES = b"application/x-ndjson"

_PIECE_BYTES = 64 * 1024
_BREAK = re.compile(rb"[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_ESCAPES = {b"\xc2\x85": rb"\u0085", b"\xe2\x80\xa8": rb"\u2028", b"\xe2\x80\xa9": rb"\u2029"}


class Lines:
    """One streamed answer; the sink of its transaction.

    What a caller has not got yet is held until there are 64 KiB of it or all is over: so a short
    answer has an honest status, whatever becomes of it.

    Attributes:
        has_begun: The status line is out; from here on errors are lines.
        row_count: Rows that were written so far, sent or held.
        sent_bytes: Of the body, so far.
        stalled_s: For how long the transaction was held up by who reads it.
    """

    def __init__(self, send: Send, head: Callable[[], Iterable[tuple[bytes, bytes]]], stall_s: float) -> None:
        """*head* gives the headers, when they are sent; each piece must be taken within *stall_s*."""
        self.has_begun = False
        self.row_count = self.sent_bytes = 0
        self.stalled_s = 0.0
        self._send_it = send
        self._head = head
        self._stall_s = stall_s
        self._raw = False
        self._modes: Sequence[bool] = ()
        self._mode: Iterator[bool] = iter(())
        self._arrays = False
        self._of: tuple[Field, ...] = ()
        self._held: list[bytes] = []
        self._size = 0

    def expect(self, modes: Sequence[bool], *, raw: bool) -> None:
        """Say how rows are written: for each statement whether as arrays; as in `answer`."""
        self._modes, self._raw = modes, raw

    # -- what a transaction gives

    def begin(self) -> None:
        """Begin anew."""
        self._held, self._size = [], 0
        self.row_count = 0
        self._mode = iter(self._modes)

    def fields(self, fields: tuple[Field, ...]) -> None:
        """A statement's results begin."""
        self._of, self._arrays = fields, next(self._mode)
        mode = b"true" if self._arrays else b"false"
        self._hold([b'{"fields":%b,"rowAsArray":%b}' % (fields_json(fields), mode)])

    def rows(self, rows: list[Row]) -> None:
        """Some of its rows."""
        self.row_count += len(rows)
        written = shaped(self._of, rows, raw=self._raw, arrays=self._arrays)
        self._hold([b'{"row":%b}' % orjson.dumps(row) for row in written])

    def end(self, command_tag: str) -> None:
        """The statement has no more."""
        self._hold([b"{%b}" % command_json(command_tag)])

    async def flow(self) -> None:
        """Send what is there, if it is worth it."""
        if self._size >= _PIECE_BYTES:
            began = time.monotonic()
            try:
                await self._send()
            finally:
                self.stalled_s += time.monotonic() - began

    # -- how it ends

    async def finish(self) -> None:
        """Say that all of it is committed."""
        self._hold([b'{"committed":true}'])
        await self._send()
        await self._piece({"type": "http.response.body", "body": b""})

    async def fail(self, refusal: Problem) -> bool:
        """Say what went wrong, now that the status cannot; whether the caller took it in time."""
        told = (refusal.body, orjson.dumps(refusal.outcome), refusal.honest_status)
        self._hold([b'{"error":%b,"tiergate-error":%b,"tiergate-status":%d}' % told])
        try:
            await self._send()
            await self._piece({"type": "http.response.body", "body": b""})
        except ReaderTooSlow:
            return False
        return True

    def _hold(self, lines: list[bytes]) -> None:
        text = _joined(lines)
        self._held.append(text)
        self._size += len(text)

    async def _send(self) -> None:
        """Send what is held, in pieces that a caller can be expected to take one after the other.

        Raises:
            ReaderTooSlow: The caller did not take one in time.
        """
        text = b"".join(self._held)
        self._held, self._size = [], 0
        if not self.has_begun:
            self.has_begun = True
            headers = [(b"content-type", LINES), *self._head()]
            await self._piece({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(0, len(text), _PIECE_BYTES):
            piece = text[at : at + _PIECE_BYTES]
            await self._piece({"type": "http.response.body", "body": piece, "more_body": True})
            self.sent_bytes += len(piece)

    async def _piece(self, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send_it(message)
        except TimeoutError as exc:
            raise ReaderTooSlow(self._stall_s) from exc


def _joined(lines: list[bytes]) -> bytes:
    """*lines* with a line feed after each, and nothing in them that any reader takes for the end of a line.

    A `json` value keeps the line feeds between its tokens, and many libraries end lines at
    U+0085, U+2028 and U+2029, too.
    """
    text = b"\n".join([*lines, b""])
    is_plain = text.count(b"\n") == len(lines) and b"\r" not in text
    if is_plain and (text.isascii() or not any(each in text for each in _ESCAPES)):
        return text
    return b"".join(_BREAK.sub(_unbroken, line) + b"\n" for line in lines)


def _unbroken(found: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(found[0], b" ")
