"""What a statement gave back, free of the driver."""

from dataclasses import dataclass
from typing import NamedTuple

from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from pools.errors import PgError

_TEXT_OID = 25
_FIELDS = pq.DiagnosticField


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
        rows: Every value in Postgres's text form, None for NULL.
        command_tag: Postgres's own, such as "SELECT 3" or "INSERT 0 1".
    """

    fields: tuple[Field, ...]
    rows: list[tuple[str | None, ...]]
    command_tag: str


_transformer = Transformer()  # holds nothing between calls; only the event loop's thread uses it


def command_tag(answer: list[PGresult]) -> bytes:
    """What the server says it ran; empty when that failed or was skipped.

    libpq puts it on the last chunk of rows when that is not full, else on what follows it.
    """
    return answer[-1].command_status or (len(answer) > 1 and answer[-2].command_status) or b""


def result(answer: list[PGresult]) -> Result:
    """Decode a statement's successful answer: chunks of rows, then one without rows."""
    first = answer[0]
    width = first.nfields
    fields = tuple(
        Field(
            (first.fname(i) or b"").decode(),
            first.ftable(i), first.ftablecol(i), first.ftype(i), first.fsize(i), first.fmod(i),
        )
        for i in range(width)
    )  # fmt: skip
    rows: list[tuple[str | None, ...]] = []
    for chunk in answer:
        if count := chunk.ntuples:
            _transformer.set_pgresult(chunk, set_loaders=False)
            _transformer.set_loader_types([_TEXT_OID] * width, pq.Format.TEXT)
            rows += _transformer.load_rows(0, count, tuple)
    return Result(fields, rows, command_tag(answer).decode())


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
