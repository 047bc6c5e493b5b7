"""What goes to the server in one go, and what it answers to each part; knows libpq, and no event loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult

from pools.names import Names

_CHUNK_ROWS = 512
_MOST_GIVEN = 256  # rows of a stream that are held at a time: each is a result of 2 KB at least
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_OK = pq.ExecStatus.COMMAND_OK
_FATAL = pq.ExecStatus.FATAL_ERROR
_ROWS = pq.ExecStatus.TUPLES_CHUNK
_GIVEN = frozenset({_ROWS, pq.ExecStatus.TUPLES_OK, _OK})
_COPIES = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
_BAD = pq.ConnStatus.BAD
_ABORTED = pq.PipelineStatus.ABORTED

Params = Sequence[bytes | None]
"""Of one statement, in Postgres's text form; None for NULL."""
Answer = list[PGresult]
"""What one statement gave: 1 result; with rows, 1 per chunk of 512 and a last one without rows."""


class Come(Enum):
    """How far a flight has come."""

    ON_ITS_WAY = auto()
    GIVEN = auto()
    LANDED = auto()
    COPYING = auto()
    GARBLED = auto()


class _Kind(Enum):
    ASK = auto()
    ROWS = auto()
    PREPARE = auto()
    CLOSE = auto()


@dataclass(slots=True)
class _Step:
    kind: _Kind
    text: bytes
    answer: Answer = field(default_factory=list)


class Flight:
    """Statements in the order of asking, and their answers.

    Attributes:
        at: How many of the steps are answered.
        given: Of a stream, what the statements have given and nobody has taken yet: rows, each a result, and
            after a statement's last row its end. None where answers are kept whole.
    """

    __slots__ = ("_conn", "_names", "_steps", "at", "given")

    def __init__(self, conn: PGconn, names: Names) -> None:
        self._conn = conn
        self._names = names
        self._steps: list[_Step] = []
        self.at = 0
        self.given: list[PGresult] | None = None

    def ask(self, text: bytes, params: Params, *, rows: bool, note: bytes = b"") -> None:
        """Send *text*; one that comes for the second time is prepared by name, so that it is planned once.

        With a *note* behind it, which is another one each time, it has no name and earns none.
        """
        conn, names, steps = self._conn, self._names, self._steps
        if not steps and names.evicted:
            for evicted in names.take_evicted():
                conn.send_close_prepared(evicted)
                steps.append(_Step(_Kind.CLOSE, b""))
        name = None if note else names.get(text)
        if name is None and not note:
            name = names.make(text)
            if name is not None:
                conn.send_prepare(name, text)
                steps.append(_Step(_Kind.PREPARE, text))
        if name is None:
            conn.send_query_params(text + note, params)
        else:
            conn.send_query_prepared(name, params)
        steps.append(_Step(_Kind.ROWS if rows else _Kind.ASK, text))

    def collect(self) -> Come:
        """Look at what has come in."""
        conn, steps, given = self._conn, self._steps, self.given
        while not conn.is_busy():
            result = conn.get_result()
            if result is None:
                self.at += 1
                # libpq refuses the mode for a statement that the server skips.
                wants_rows = self.at < len(steps) and steps[self.at].kind is _Kind.ROWS
                if wants_rows and conn.pipeline_status != _ABORTED:
                    # Of a stream one by one: rows may be wide, and a chunk is held until it is whole.
                    conn.set_chunked_rows_mode(_CHUNK_ROWS if given is None else 1)
            elif result.status == _SYNC:
                return Come.LANDED if all(step.answer for step in steps) else Come.GARBLED
            elif self.at >= len(steps):
                return Come.GARBLED
            elif result.status in _COPIES:  # libpq has no COPY in a pipeline, and would say this for ever
                return Come.COPYING
            else:
                step = steps[self.at]
                if given is None:
                    step.answer.append(result)
                else:
                    _give(step, result, given)
                    if len(given) >= _MOST_GIVEN:
                        break
                if conn.status == _BAD:
                    break
        return Come.GIVEN if given else Come.ON_ITS_WAY

    def answers(self) -> list[Answer]:
        """The answer to each statement; a failed Parse answers for its own, and its name is forgotten."""
        answers: list[Answer] = []
        failed: Answer | None = None
        for step in self._steps:
            if step.kind is _Kind.PREPARE:
                if step.answer[0].status != _OK:
                    self._names.forget(step.text, prepared=False)
                if step.answer[0].status == _FATAL:
                    failed = step.answer
            elif step.kind is not _Kind.CLOSE:
                answers.append(failed or step.answer)
                failed = None
        return answers


def _give(step: _Step, result: PGresult, given: list[PGresult]) -> None:
    if step.kind is _Kind.ROWS and result.status in _GIVEN:
        given.append(result)
    if result.status != _ROWS:
        step.answer.append(result)
