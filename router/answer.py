"""Results of statements as the JSON that a `/sql` answer holds.

The order of the keys is part of the format: fields, rows, command, rowCount,
rowAsArray.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import orjson

from pools.result import Field, Result, Row

# What orjson writes as JSON, without asking us, as the values of `parsed` columns.
Value = str | bool | int | float | None | orjson.Fragment | list["Value"]
Parse = Callable[[str], Value]

_BOX_ARRAY = 1020
_FEW_ROWS = 8


def answer(result: Result, *, raw: bool, arrays: bool) -> bytes:
    """The body that answers a single statement.

    Args:
        raw: Leave every value the text that Postgres wrote; otherwise parse those that have a JSON form.
        arrays: Rows as arrays; otherwise as objects, where the last of several columns of one name wins.
    """
    return b'{"fields":%b,"rows":%b,%b,"rowAsArray":%b}' % (
        fields_json(result.fields),
        orjson.dumps(shaped(result.fields, result.rows, raw=raw, arrays=arrays)),
        command_json(result.command_tag),
        b"true" if arrays else b"false",
    )


def fields_json(fields: tuple[Field, ...]) -> bytes:
    """The columns of a result, described."""
    return _shape(fields).fields_json


def shaped(
    fields: tuple[Field, ...], rows: list[Row], *, raw: bool, arrays: bool
) -> Sequence[Sequence[Value] | dict[str, Value]]:
    """*rows* as the values that orjson writes; see `answer`."""
    shape = _shape(fields)
    values: Sequence[Sequence[Value]] = rows
    if shape.parses and not raw and rows:
        values = _parsed(shape.parses, rows)
    return values if arrays else _objects(len(shape.names))(values, *shape.names)


def command_json(command_tag: str) -> bytes:
    """The members `command` and `rowCount`."""
    command, _, count = command_tag.partition(" ")
    count = count.rpartition(" ")[2]
    return b'"command":%b,"rowCount":%b' % (
        orjson.dumps(command),
        count.encode() if count.isdecimal() else b"null",
    )


def answer_batch(results: Sequence[Result], *, raw: bool, arrays: Sequence[bool]) -> bytes:
    """The body that answers a batch; *arrays* has one entry per result."""
    parts = (answer(result, raw=raw, arrays=wanted) for result, wanted in zip(results, arrays, strict=True))
    return b'{"results":[%b]}' % b",".join(parts)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all answers with the same fields share; *parses* is empty when every value stays text."""

    fields_json: bytes
    names: tuple[str, ...]
    parses: tuple[Parse | None, ...]


@lru_cache(maxsize=1024)
def _shape(fields: tuple[Field, ...]) -> _Shape:
    described = [
        {
            "name": field.name,
            "dataTypeID": field.type_oid,
            "tableID": field.table_oid,
            "columnID": field.column,
            "dataTypeSize": field.type_size,
            "dataTypeModifier": field.type_modifier,
            "format": "text",
        }
        for field in fields
    ]
    parses = tuple(_PARSES.get(field.type_oid) for field in fields)
    return _Shape(
        orjson.dumps(described), tuple(field.name for field in fields), parses if any(parses) else ()
    )


@lru_cache(maxsize=64)
def _objects(width: int) -> Callable[..., list[dict[str, Value]]]:
    """A function of rows and *width* names that makes an object of each row.

    Compiled, as `namedtuple` does it, since 2,000 rows of 4 take 0.4 ms this way and
    2.5 ms with `dict(zip(…))`. The text depends on *width* alone; names are arguments.
    """
    names = "".join(f", n{i}" for i in range(width))
    values = "".join(f"v{i}, " for i in range(width))
    items = ", ".join(f"n{i}: v{i}" for i in range(width))
    text = f"lambda rows{names}: [{{{items}}} for ({values}) in rows]"
    made: Callable[..., list[dict[str, Value]]] = eval(text)  # noqa: S307 - no part of it comes from outside
    return made


def _value(parse: Parse | None, text: str | None) -> Value:
    return text if parse is None or text is None else parse(text)


def _parsed(parses: tuple[Parse | None, ...], rows: list[Row]) -> list[tuple[Value, ...]]:
    """*rows* with the values of some types parsed; many of them column by column, which is twice as fast."""
    if len(rows) < _FEW_ROWS:
        return [tuple(map(_value, parses, row)) for row in rows]
    columns: list[Iterable[Value]] = []
    for parse, column in zip(parses, zip(*rows, strict=True), strict=True):
        if parse is None:
            columns.append(column)
        elif None in column:
            columns.append([None if text is None else parse(text) for text in column])
        else:
            columns.append(map(parse, cast("tuple[str, ...]", column)))
    return list(zip(*columns, strict=True))


def _float(text: str) -> float | str:
    """A number; NaN and the infinities stay text, since JSON has no such numbers."""
    value = float(text)
    return value if math.isfinite(value) else text


def _array(element: Parse | None, delimiter: str) -> Parse:
    """The function that turns an array's text into nested lists.

    Bounds other than 1 (`[0:1]={…}`) are dropped: JSON has no place for them.

    Source:
        PostgreSQL 18, 8.15.6 "Array Input and Output Syntax".
    """
    token = re.compile(rf'[{{}}]|"(?:[^"\\]|\\.)*"|[^{{}}"{delimiter}]+', re.DOTALL)

    def parse(text: str) -> list[Value]:
        outermost: list[list[Value]] = []
        open_lists: list[list[Any]] = [outermost]  # Any: the outermost holds lists alone, the others values
        start = text.index("=") + 1 if text[0] == "[" else 0
        for item in token.findall(text, start):
            if item == "{":
                inner: list[Value] = []
                open_lists[-1].append(inner)
                open_lists.append(inner)
            elif item == "}":
                open_lists.pop()
            elif item == "NULL":
                open_lists[-1].append(None)
            else:
                value = item if item[0] != '"' else _ESCAPED.sub(r"\1", item[1:-1])
                open_lists[-1].append(value if element is None else element(value))
        return outermost[0]

    return parse


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# By pg_type.oid of types that every server has under the same number. A domain is reported as its base type.
# int8 and numeric stay text: a JSON reader would round them.
_ELEMENTS: dict[int, Parse] = {
    16: {"t": True, "f": False}.__getitem__,
    21: int,
    23: int,
    700: _float,
    701: _float,
    114: orjson.Fragment,
    3802: orjson.Fragment,
}
_ARRAYS_OF_PARSED = {1000: 16, 1005: 21, 1007: 23, 1021: 700, 1022: 701, 199: 114, 3807: 3802}

# Arrays of all other built-in types. int2vector and oidvector are not among them: their text has no braces.
# Nor are arrays of types made by users, whose numbers differ by database: they stay text.
_ARRAYS_OF_TEXT = (
    143, 271, 629, 651, 719, 775, 791, 1001, 1002, 1003, 1006, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    1015, 1016, 1017, 1018, 1019, _BOX_ARRAY, 1027, 1028, 1034, 1040, 1041, 1115, 1182, 1183, 1185, 1187,
    1231, 1263, 1270, 1561, 1563, 2201, 2207, 2208, 2209, 2210, 2211, 2287, 2949, 2951, 3221, 3643, 3644,
    3645, 3735, 3770, 3905, 3907, 3909, 3911, 3913, 3927, 4073, 4090, 4097, 4192, 5039, 6150, 6151, 6152,
    6153, 6155, 6157,
)  # fmt: skip

_PARSES: dict[int, Parse] = {
    **_ELEMENTS,
    **{oid: _array(_ELEMENTS[element], ",") for oid, element in _ARRAYS_OF_PARSED.items()},
    **{oid: _array(None, ";" if oid == _BOX_ARRAY else ",") for oid in _ARRAYS_OF_TEXT},
}
