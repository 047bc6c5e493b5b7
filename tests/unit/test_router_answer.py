"""A result becomes JSON as Neon's proxy writes it."""

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pools.result import Field, Result
from router.answer import answer, answer_batch

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
ARRAYS = st.recursive(
    st.lists(st.none() | TEXTS, min_size=1), lambda inner: st.lists(inner, min_size=1), max_leaves=8
)


def field(name: str = "x", oid: int = 25) -> Field:
    return Field(name, table_oid=16385, column=1, type_oid=oid, type_size=-1, type_modifier=-1)


def parsed(oid: int, text: str | None) -> object:
    """What a value of the type becomes in parsed mode."""
    result = Result((field(oid=oid),), [(text,)], "SELECT 1")
    return json.loads(answer(result, raw=False, arrays=True))["rows"][0][0]


def literal(values: list[object]) -> str:
    """An array's text, every string quoted, as Postgres may write it."""
    parts = []
    for value in values:
        match value:
            case None:
                parts.append("NULL")
            case list():
                parts.append(literal(value))
            case _:
                parts.append('"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(parts) + "}"


def test_the_keys_are_all_there_in_the_formats_order() -> None:
    result = Result((Field("id", 16385, 1, 23, 4, -1),), [("1",)], "SELECT 1")

    assert answer(result, raw=True, arrays=True) == (
        b'{"fields":[{"name":"id","dataTypeID":23,"tableID":16385,"columnID":1,"dataTypeSize":4,'
        b'"dataTypeModifier":-1,"format":"text"}],"rows":[["1"]],"command":"SELECT","rowCount":1,"rowAsArray":true}'
    )


def test_rows_are_objects_unless_arrays_are_wanted() -> None:
    result = Result((field("a"), field("b")), [("1", None)], "SELECT 1")

    assert b'"rows":[{"a":"1","b":null}]' in answer(result, raw=True, arrays=False)
    assert b'"rows":[["1",null]]' in answer(result, raw=True, arrays=True)


def test_of_columns_with_one_name_the_last_wins_in_an_object() -> None:
    result = Result((field("a"), field("b"), field("a")), [("1", "2", "3")], "SELECT 1")

    assert b'"rows":[{"a":"3","b":"2"}]' in answer(result, raw=True, arrays=False)


@pytest.mark.parametrize("arrays", [True, False])
@pytest.mark.parametrize("raw", [True, False])
def test_rows_without_columns_are_counted_too(*, raw: bool, arrays: bool) -> None:
    body = json.loads(answer(Result((), [(), ()], "SELECT 2"), raw=raw, arrays=arrays))

    assert body["rows"] == ([[], []] if arrays else [{}, {}])
    assert body["rowCount"] == 2


@pytest.mark.parametrize(
    ("tag", "command", "count"),
    [
        ("SELECT 3", "SELECT", 3),
        ("INSERT 0 12", "INSERT", 12),
        ("UPDATE 0", "UPDATE", 0),
        ("MERGE 1", "MERGE", 1),
        ("CREATE TABLE", "CREATE", None),
        ("BEGIN", "BEGIN", None),
        ("", "", None),
    ],
)
def test_the_command_and_its_count_come_from_the_tag(tag: str, command: str, count: int | None) -> None:
    body = json.loads(answer(Result((), [], tag), raw=True, arrays=True))

    assert (body["command"], body["rowCount"]) == (command, count)


def test_a_batch_answers_each_statement_in_its_own_mode() -> None:
    results = [Result((field("a"),), [("1",)], "SELECT 1")] * 2

    batch = json.loads(answer_batch(results, raw=True, arrays=[True, False]))

    assert [one["rows"] for one in batch["results"]] == [[["1"]], [{"a": "1"}]]


def test_an_empty_batch_has_no_results() -> None:
    assert answer_batch([], raw=True, arrays=[]) == b'{"results":[]}'


@pytest.mark.parametrize(
    ("oid", "text", "value"),
    [
        (16, "t", True),
        (16, "f", False),
        (21, "-5", -5),
        (23, "2147483647", 2147483647),
        (700, "42.42", 42.42),
        (701, "1e+20", 1e20),
        (701, "NaN", "NaN"),
        (700, "-Infinity", "-Infinity"),
        (114, '{"a": 1.10,  "a": 2}', {"a": 2}),
        (3802, "null", None),
        (20, "9007199254740993", "9007199254740993"),
        (1700, "1.10", "1.10"),
        (1184, "2026-01-01 00:00:00+00", "2026-01-01 00:00:00+00"),
        (17, "\\x00ff", "\\x00ff"),
        (99999, "{a,b}", "{a,b}"),
        (22, "1 2", "1 2"),
    ],
)
def test_a_value_is_parsed_by_its_type(oid: int, text: str, value: object) -> None:
    assert parsed(oid, text) == value
    assert type(parsed(oid, text)) is type(value)


def test_a_null_is_null_whatever_its_type() -> None:
    for oid in (16, 23, 701, 3802, 1007, 25):
        assert parsed(oid, None) is None


def test_json_is_embedded_as_it_was_written() -> None:
    result = Result((field(oid=114),), [('{"n": 1.10}',)], "SELECT 1")

    assert b'"rows":[[{"n": 1.10}]]' in answer(result, raw=False, arrays=True)


@pytest.mark.parametrize(
    ("oid", "text", "value"),
    [
        (1007, "{1,NULL,3}", [1, None, 3]),
        (1007, "{}", []),
        (1007, "[0:1]={1,2}", [1, 2]),
        (1007, "[2:3][1:1]={{1},{2}}", [[1], [2]]),
        (1016, "{1,2}", ["1", "2"]),
        (1000, "{t,f,NULL}", [True, False, None]),
        (1022, "{NaN,1.5}", ["NaN", 1.5]),
        (1009, '{"a b","NULL",NULL,"q\\"u\\\\o","{},"}', ["a b", "NULL", None, 'q"u\\o', "{},"]),
        (1009, '{"[0:1]={x"}', ["[0:1]={x"]),
        (3807, '{"{\\"a\\": [1, null]}",NULL,"null"}', [{"a": [1, None]}, None, None]),
        (1020, "{(1,1),(0,0);(2,2),(1,1)}", ["(1,1),(0,0)", "(2,2),(1,1)"]),
        (2287, '{"(1,x)"}', ["(1,x)"]),
    ],
)
def test_an_array_is_parsed_by_the_type_of_its_elements(oid: int, text: str, value: object) -> None:
    assert parsed(oid, text) == value


@given(ARRAYS)
def test_an_array_of_text_becomes_what_its_literal_says(values: list[object]) -> None:
    assert parsed(1009, literal(values)) == values


@given(st.lists(st.lists(st.none() | TEXTS, min_size=3, max_size=3)), st.lists(TEXTS, min_size=3, max_size=3))
def test_raw_mode_hands_every_text_on_unchanged(rows: list[list[str | None]], names: list[str]) -> None:
    result = Result(tuple(field(name) for name in names), [tuple(row) for row in rows], f"SELECT {len(rows)}")

    assert json.loads(answer(result, raw=True, arrays=True))["rows"] == rows
    assert json.loads(answer(result, raw=True, arrays=False))["rows"] == [
        dict(zip(names, row, strict=True)) for row in rows
    ]


@given(st.lists(st.none() | st.floats() | st.just(math.inf), max_size=20))
def test_parsed_mode_is_json_that_any_reader_takes(values: list[float | None]) -> None:
    texts = [None if value is None else str(value) for value in values]
    result = Result((field(oid=701),), [(text,) for text in texts], f"SELECT {len(values)}")

    rows = orjson.loads(answer(result, raw=False, arrays=True))["rows"]

    assert [math.nan if row[0] is None else float(row[0]) for row in rows] == pytest.approx(
        [math.nan if value is None else value for value in values], nan_ok=True
    )


@pytest.mark.parametrize("count", [1, 7, 8, 200])
def test_many_rows_are_parsed_as_few_are(count: int) -> None:
    result = Result(
        (field("a", 23), field("b", 16), field("c")), [("1", "t", "x"), ("2", None, None)] * count, "SELECT"
    )

    rows = json.loads(answer(result, raw=False, arrays=True))["rows"]

    assert rows == [[1, True, "x"], [2, None, None]] * count
