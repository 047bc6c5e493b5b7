"""The body of a `/sql` request, read into statements and parameters.

Any bytes give a `Request` or a `BadRequest`, and nothing else. Who asks is never
read from here.
"""

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from pools.statement import Statement
from router.errors import (
    EmptyStatement,
    NestedTooDeep,
    NotJson,
    TextNotStorable,
    TooManyParameters,
    TooManyStatements,
    WrongShape,
)

MAX_STATEMENTS = 1000
"""In one batch: all of it runs in one transaction, on one connection, in one flight."""

MAX_PARAMS = 65535
"""Of one statement: the protocol counts them in 16 bits (PostgreSQL 18, 54.7, Bind)."""

MAX_ARRAY_DEPTH = 64
"""Of arrays within arrays; Postgres itself takes 6 (MAXDIM) and says so clearly."""

_QUICK_BYTES = 64 * 1024

# A number that orjson may change: one with a fraction or an exponent, one of 19 digits or more, or -0.
_FRAGILE = re.compile(rb"[0-9][.eE]|[0-9]{19}|-0")


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller wants done, in one transaction.

    Attributes:
        statements: Exactly one unless *batch*; a batch may be empty.
        array_modes: For each statement, whether its rows are wanted as arrays; None leaves it to the headers.
        batch: Whether the answer is a list of results.
    """

    statements: tuple[Statement, ...]
    array_modes: tuple[bool | None, ...]
    batch: bool


class _Number(str):
    """A JSON number exactly as it was sent."""

    __slots__ = ()


class _NotPlainError(Exception):
    """A parameter is neither string, null, boolean nor small integer."""


def read_request(body: bytes) -> Request:
    """The statements in *body*, with every parameter in Postgres's text form.

    Numbers keep the digits they were sent with: `1.10` stays `1.10` and
    12345678901234567890123 loses nothing on its way to a numeric. (Neon's proxy,
    and JavaScript, would round both through a double.) A body that needs this is
    parsed a second time, by a slower parser; few do, as drivers send strings.

    Raises:
        BadRequest: One of its kinds, with a sentence that says what is wrong where.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        request = _request(_exact(body, exc), plain=False)
    else:
        try:
            request = _request(document, plain=True)
        except _NotPlainError:
            request = _request(_exact(body) if _FRAGILE.search(body) else document, plain=False)
    if b"\\u0000" in body:  # the only way that JSON can write a NUL
        _refuse_nul(request.statements)
    return request


async def read_in_turn(body: bytes) -> Request:
    """`read_request`, off the event loop when it may take more than a millisecond."""
    return read_request(body) if len(body) < _QUICK_BYTES else await asyncio.to_thread(read_request, body)


# Any: JSON of any shape, here and below; what is wanted is checked before it is used.
def _request(document: Any, *, plain: bool) -> Request:
    if type(document) is not dict:
        raise WrongShape("the body", "an object")
    if "query" not in document:
        return _batch(document, plain=plain)
    if "queries" in document:
        raise WrongShape("the body", "an object with either query or queries, not both")
    statement, array_mode = _statement(document, None, plain=plain)
    return Request((statement,), (array_mode,), batch=False)


def _batch(document: dict[str, Any], *, plain: bool) -> Request:
    if "queries" not in document:
        raise WrongShape("the body", "an object with query or queries")
    queries = document["queries"]
    if type(queries) is not list:
        raise WrongShape("queries", "an array")
    if len(queries) > MAX_STATEMENTS:
        raise TooManyStatements(len(queries), MAX_STATEMENTS)
    statements: list[Statement] = []
    array_modes: list[bool | None] = []
    for index, query in enumerate(queries):
        if type(query) is not dict or "query" not in query:
            raise WrongShape(f"queries[{index}]", "an object with query")
        statement, array_mode = _statement(query, index, plain=plain)
        statements.append(statement)
        array_modes.append(array_mode)
    return Request(tuple(statements), tuple(array_modes), batch=True)


def _statement(query: dict[str, Any], index: int | None, *, plain: bool) -> tuple[Statement, bool | None]:
    text = query["query"]
    if type(text) is not str:
        raise WrongShape(_where(index, "query"), "a string")
    if not text or text.isspace():
        raise EmptyStatement(_where(index, "query"))
    params = query.get("params")
    if params is None:
        params = ()
    elif type(params) is not list:
        raise WrongShape(_where(index, "params"), "an array")
    elif len(params) > MAX_PARAMS:
        raise TooManyParameters(
            "the statement" if index is None else f"queries[{index}]", len(params), MAX_PARAMS
        )
    array_mode = query.get("arrayMode")
    if array_mode is not None and type(array_mode) is not bool:
        raise WrongShape(_where(index, "arrayMode"), "true or false")
    return Statement(text, tuple(_plain(params) if plain else _any(text, params, index))), array_mode


def _where(index: int | None, name: str) -> str:
    return name if index is None else f"queries[{index}].{name}"


def _plain(params: Iterable[Any]) -> list[bytes | None]:
    """Parameters as text, when all are of the kinds that drivers send."""
    texts: list[bytes | None] = []
    for value in params:
        kind = type(value)
        if kind is str:
            texts.append(value.encode())
        elif value is None:
            texts.append(None)
        elif kind is int:
            texts.append(b"%d" % value)
        elif kind is bool:
            texts.append(b"true" if value else b"false")
        else:
            raise _NotPlainError
    return texts


def _any(text: str, params: Iterable[Any], index: int | None) -> list[bytes | None]:
    """Parameters as text, whatever they are; only here may strings hold what UTF-8 cannot."""
    try:
        text.encode()
        return [None if value is None else _text(value).encode() for value in params]
    except UnicodeEncodeError:
        raise TextNotStorable(_where(index, "query or params"), "half a surrogate pair") from None
    except RecursionError:
        raise NestedTooDeep(_where(index, "params")) from None


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case list():
            return _array(value, 1)
        case _:
            return _json(value)


def _array(values: list[Any], depth: int) -> str:
    """An array literal.

    Strings are quoted by Postgres's rule, not JSON's: there a backslash only protects the
    next character, so that a line feed written as JSON does would arrive as the letter n.

    Source:
        PostgreSQL 18, 8.15.6 "Array Input and Output Syntax".
    """
    if depth > MAX_ARRAY_DEPTH:
        raise RecursionError
    parts: list[str] = []
    for value in values:
        kind = type(value)
        if kind is str:
            parts.append(_quoted(value))
        elif value is None:
            parts.append("NULL")
        elif kind is _Number:
            parts.append(value)
        elif kind is int:
            parts.append(str(value))
        elif kind is list:
            parts.append(_array(value, depth + 1))
        elif kind is dict:
            parts.append(_quoted(_json(value)))
        else:
            parts.append(_json(value))
    return "{" + ",".join(parts) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(value: Any) -> str:
    """Compact JSON text.

    Raises:
        RecursionError: Nested deeper than 254.
        UnicodeEncodeError: A string holds half a surrogate pair.
    """
    try:
        return orjson.dumps(value, default=_verbatim, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()
    except orjson.JSONEncodeError as exc:
        if "surrogates" in str(exc):
            raise UnicodeEncodeError("utf-8", "", 0, 0, "surrogates not allowed") from exc
        raise RecursionError from exc


def _verbatim(number: _Number) -> orjson.Fragment:
    return orjson.Fragment(number.encode())


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_EXACT = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant)


def _exact(body: bytes, refusal: orjson.JSONDecodeError | None = None) -> Any:
    """*body* with its numbers as they were sent.

    After orjson's *refusal* only if that was about a number's size; any other is final.
    """
    reason = "" if refusal is None else refusal.msg
    if "depth limit" in reason:
        raise NestedTooDeep("the body") from refusal
    if reason and "infinity" not in reason:
        raise NotJson(reason) from refusal
    try:
        return _EXACT.decode(body.decode())
    except RecursionError:
        raise NestedTooDeep("the body") from None
    except ValueError as exc:
        raise NotJson(str(exc)) from exc


def _refuse_nul(statements: tuple[Statement, ...]) -> None:
    for statement in statements:
        if "\0" in statement.text:
            raise TextNotStorable("query", "a NUL character")
        for number, param in enumerate(statement.params, 1):
            if param is not None and b"\0" in param:
                raise TextNotStorable(f"parameter ${number}", "a NUL character")
