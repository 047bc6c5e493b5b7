"""What a statement gave back, free of the driver."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from pools.errors import PgError

_TEXT_OID = 25
_FIELDS = pq.DiagnosticField
_ROW = pq.ExecStatus.TUPLES_CHUNK

Row = tuple[str | None, ...]
"""Every value in Postgres's text form, None for NULL."""


class Field(NamedTuple):
    """One column of a result, as Postgres describes it. A tuple: one is made for each column of each answer.

    Attributes:
        table_oid, column: Where the column comes from; 0 when it is computed.
        type_size: Bytes; negative for types of varying length.
    """

    name: str
    table_oid: int
    column: int
    type_oid: int
    type_size: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one statement.

    Attributes:
        command_tag: Postgres's own, such as "SELECT 3" or "INSERT 0 1".
    """

    fields: tuple[Field, ...]
    rows: list[Row]
    command_tag: str


_transformer = Transformer()  # holds nothing between calls; only the event loop's thread uses it


def command_tag(answer: list[PGresult]) -> bytes:
    """What the server says it ran; empty when that failed or was skipped.

    libpq puts it on the last chunk of rows when that is not full, else on what follows it.
    """
    return answer[-1].command_status or (len(answer) > 1 and answer[-2].command_status) or b""


def result(answer: list[PGresult]) -> Result:
    """Decode a statement's successful answer: chunks of rows, then one without rows."""
    fields = _fields(answer[0])
    rows: list[Row] = []
    for chunk in answer:
        if count := chunk.ntuples:
            _transformer.set_pgresult(chunk, set_loaders=False)
            _transformer.set_loader_types([_TEXT_OID] * len(fields), pq.Format.TEXT)
            rows += _transformer.load_rows(0, count, tuple)
    return Result(fields, rows, command_tag(answer).decode())


def _fields(of: PGresult) -> tuple[Field, ...]:
    return tuple(
        Field(
            (of.fname(i) or b"").decode(),
            of.ftable(i), of.ftablecol(i), of.ftype(i), of.fsize(i), of.fmod(i),
        )
        for i in range(of.nfields)
    )  # fmt: skip


class Sink(Protocol):
    """Who takes the results of a transaction while they come, statement after statement.

    Attributes:
        has_begun: Whether something was handed on, so that it cannot be begun anew.
    """

    has_begun: bool

    def begin(self) -> None:
        """Begin anew; what came so far, if anything did, counts for nothing."""

    def fields(self, fields: tuple[Field, ...]) -> None:
        """A statement's results begin."""

    def rows(self, rows: list[Row]) -> None:
        """Some of its rows."""

    def end(self, command_tag: str) -> None:
        """The statement has no more."""

    async def flow(self) -> None:
        """Hand on what is there; nothing more comes before this returns."""


class Spout:
    """Decodes what a flight gives, result by result, into a sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._transformer = Transformer()
        self._is_within = False
        sink.begin()

    async def take(self, given: list[PGresult]) -> None:
        """Take what is *given*: rows, each a result, and after a statement's last row its end."""
        sink, transformer = self._sink, self._transformer
        rows: list[Row] = []
        for each in given:
            if not self._is_within:
                self._is_within = True
                sink.fields(_fields(each))
                transformer.set_loader_types([_TEXT_OID] * each.nfields, pq.Format.TEXT)
            if each.status == _ROW:
                transformer.set_pgresult(each, set_loaders=False)
                rows += transformer.load_rows(0, 1, tuple)
            else:
                if rows:
                    sink.rows(rows)
                    rows = []
                sink.end(command_tag([each]).decode())
                self._is_within = False
        given.clear()
        if rows:
            sink.rows(rows)
            rows = []
        await sink.flow()  # with nothing held here meanwhile: rows may be wide


def pg_error(failed: PGresult) -> PgError:
    """What Postgres said, field by field."""

    def said(field: pq.DiagnosticField) -> str | None:
        value = failed.error_field(field)
        return None if value is None else value.decode("utf-8", "replace")

    return PgError(
        message=said(_FIELDS.MESSAGE_PRIMARY) or failed.get_error_message(),
        code=said(_FIELDS.SQLSTATE) or "XX000",
        severity=said(_FIELDS.SEVERITY_NONLOCALIZED) or said(_FIELDS.SEVERITY),
        detail=said(_FIELDS.MESSAGE_DETAIL),
        hint=said(_FIELDS.MESSAGE_HINT),
        position=said(_FIELDS.STATEMENT_POSITION),
        internal_position=said(_FIELDS.INTERNAL_POSITION),
        internal_query=said(_FIELDS.INTERNAL_QUERY),
        where=said(_FIELDS.CONTEXT),
        schema=said(_FIELDS.SCHEMA_NAME),
        table=said(_FIELDS.TABLE_NAME),
        column=said(_FIELDS.COLUMN_NAME),
        data_type=said(_FIELDS.DATATYPE_NAME),
        constraint=said(_FIELDS.CONSTRAINT_NAME),
        file=said(_FIELDS.SOURCE_FILE),
        line=said(_FIELDS.SOURCE_LINE),
        routine=said(_FIELDS.SOURCE_FUNCTION),
    )
