"""A body is statements, or a refusal that says why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.body import MAX_ARRAY_DEPTH, MAX_PARAMS, MAX_STATEMENTS, Request, read_request
from router.errors import (
    BadRequest,
    EmptyStatement,
    NestedTooDeep,
    NotJson,
    TextNotStorable,
    TooManyParameters,
    TooManyStatements,
    WrongShape,
)

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
ARRAYS = st.recursive(st.lists(st.none() | TEXTS), lambda inner: st.lists(inner, min_size=1), max_leaves=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
BODIES = st.binary() | st.builds(
    lambda query, params, mode, key, other: json.dumps(
        {key: query, "params": params, "arrayMode": mode, "other": other}
    ).encode(),
    JSON,
    JSON,
    st.none() | st.booleans() | st.integers(),
    st.sampled_from(["query", "queries"]),
    JSON,
)


def param(json_text: str) -> bytes | None:
    """The text that Postgres gets for one parameter, written as JSON."""
    request = read_request(b'{"query":"SELECT $1","params":[%b]}' % json_text.encode())
    return request.statements[0].params[0]


def array(literal: str) -> list[object]:
    """An array's elements, by the rules of Postgres (8.15.6), of a literal without bounds or blanks."""

    def items(at: int) -> tuple[list[object], int]:
        found: list[object] = []
        while literal[at] != "}":
            at += 1
            if literal[at] == "}":
                break
            if literal[at] == "{":
                inner, at = items(at)
                found.append(inner)
            elif literal[at] == '"':
                text = ""
                at += 1
                while literal[at] != '"':
                    at += literal[at] == "\\"
                    text += literal[at]
                    at += 1
                found.append(text)
                at += 1
            else:
                end = min(i for i in (literal.find(",", at), literal.find("}", at)) if i > 0)
                found.append(None if literal[at:end] == "NULL" else literal[at:end])
                at = end
        return found, at + 1

    found, end = items(0)
    assert end == len(literal)
    return found


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_request(body)
    return caught.value


def test_a_statement_and_its_parameters_are_read() -> None:
    request = read_request(b'{"query":"SELECT $1, $2","params":["a",null],"arrayMode":true,"more":1}')

    assert request.statements[0].text == "SELECT $1, $2"
    assert request.statements[0].params == (b"a", None)
    assert request.array_modes == (True,)
    assert not request.batch


@pytest.mark.parametrize(
    "body", [b'{"query":"SELECT 1"}', b'{"query":"SELECT 1","params":null,"arrayMode":null}']
)
def test_parameters_and_array_mode_may_be_left_out(body: bytes) -> None:
    request = read_request(body)

    assert request.statements[0].params == ()
    assert request.array_modes == (None,)


def test_a_batch_keeps_its_order_and_each_statements_array_mode() -> None:
    request = read_request(b'{"queries":[{"query":"a","params":["1"],"arrayMode":false},{"query":"b"}]}')

    assert [statement.text for statement in request.statements] == ["a", "b"]
    assert request.array_modes == (False, None)
    assert request.batch


def test_a_batch_may_be_empty() -> None:
    assert read_request(b'{"queries":[]}') == Request((), (), batch=True)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("null", None),
        ('"x"', b"x"),
        ('""', b""),
        ('"\\u00e9\\ud83d\\ude00"', "é😀".encode()),
        ("true", b"true"),
        ("false", b"false"),
        ("42", b"42"),
        ("-9223372036854775808", b"-9223372036854775808"),
        ('{"a": [1, "x"], "b": null}', b'{"a":[1,"x"],"b":null}'),
        ("{}", b"{}"),
        ("[]", b"{}"),
        ("[1, true, null]", b"{1,true,NULL}"),
        ('["NULL", "", "a b", "{}"]', b'{"NULL","","a b","{}"}'),
        ('["a\\"b\\\\c"]', b'{"a\\"b\\\\c"}'),
        ('[[1, null], ["x", false]]', b'{{1,NULL},{"x",false}}'),
        ('[{"a": "x\\"y"}]', b'{"{\\"a\\":\\"x\\\\\\"y\\"}"}'),
    ],
)
def test_a_parameter_becomes_the_text_that_postgres_reads(sent: str, text: bytes | None) -> None:
    assert param(sent) == text


def test_a_line_feed_in_an_array_stays_a_line_feed() -> None:
    assert param('["a\\nb"]') == b'{"a\nb"}'


@pytest.mark.parametrize(
    "number",
    ["1.10", "12345678901234567890123", "0.1000000000000000055511151231257827", "1e400", "1E5", "-0.0"],
)
def test_a_number_keeps_the_digits_it_was_sent_with(number: str) -> None:
    assert param(number) == number.encode()
    assert param(f"[{number}]") == b"{%b}" % number.encode()
    assert param(f'{{"a":[{number}]}}') == b'{"a":[%b]}' % number.encode()


def test_the_last_of_two_equal_keys_counts() -> None:
    assert read_request(b'{"query":"a","query":"b"}').statements[0].text == "b"


@given(ARRAYS)
def test_what_postgres_reads_in_an_array_literal_is_what_was_sent(sent: list[object]) -> None:
    text = param(json.dumps(sent))

    assert text is not None
    assert array(text.decode()) == sent


@given(BODIES)
def test_any_bytes_are_a_request_or_a_bad_request(body: bytes) -> None:
    try:
        request = read_request(body)
    except BadRequest:
        return

    for statement in request.statements:
        statement.text.encode()
        assert b"\0" not in b"".join(param or b"" for param in statement.params)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'\xef\xbb\xbf{"query":"x"}',
        b'{"query":"x","params":[NaN]}',
        b"x" * 100,
        b'{"query":"\\ud800"}',
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(body: bytes) -> None:
    assert isinstance(refusal(body), NotJson)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"[]", "the body"),
        (b'"SELECT 1"', "the body"),
        (b"{}", "the body"),
        (b'{"query":"a","queries":[]}', "the body"),
        (b'{"query":1}', "query"),
        (b'{"query":null}', "query"),
        (b'{"query":"a","params":{}}', "params"),
        (b'{"query":"a","params":"x"}', "params"),
        (b'{"query":"a","arrayMode":1}', "arrayMode"),
        (b'{"queries":{}}', "queries"),
        (b'{"queries":null}', "queries"),
        (b'{"queries":[{"query":"a"},[]]}', "queries[1]"),
        (b'{"queries":[{}]}', "queries[0]"),
        (b'{"queries":[{"query":"a"},{"query":"b","params":1}]}', "queries[1].params"),
        (b'{"queries":[{"queries":[]}]}', "queries[0]"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_place_where_it_is_wrong(body: bytes, where: str) -> None:
    refused = refusal(body)

    assert isinstance(refused, WrongShape)
    assert refused.where == where


@pytest.mark.parametrize("text", ["", " ", "\\n\\t"])
def test_an_empty_statement_is_refused(text: str) -> None:
    assert isinstance(refusal(b'{"query":"%b"}' % text.encode()), EmptyStatement)


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":"a\\u0000"}',
        b'{"query":"a","params":["\\u0000"]}',
        b'{"query":"a","params":[["x\\u0000"]]}',
        b'{"queries":[{"query":"a"},{"query":"a","params":["\\u0000"]}]}',
    ],
)
def test_a_nul_in_text_is_refused(body: bytes) -> None:
    assert isinstance(refusal(body), TextNotStorable)


def test_an_escaped_nul_inside_a_json_document_is_left_to_postgres() -> None:
    assert param('{"a": "\\u0000"}') == b'{"a":"\\u0000"}'


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert param('"\\\\u0000"') == b"\\u0000"


@pytest.mark.parametrize("params", ['"\\ud800"', '[["\\udfff"]]', '{"a":"\\ud800"}', '{"\\ud800":1}'])
def test_half_a_surrogate_pair_is_refused_even_beside_a_number_too_large_for_a_double(params: str) -> None:
    assert isinstance(refusal(b'{"query":"a","params":[1e400,%b]}' % params.encode()), TextNotStorable)
    assert isinstance(refusal(b'{"params":[1e400],"query":"\\ud800"}'), TextNotStorable)


def test_more_parameters_than_the_protocol_carries_are_refused() -> None:
    most = b",".join([b"null"] * MAX_PARAMS)

    assert len(read_request(b'{"query":"a","params":[%b]}' % most).statements[0].params) == MAX_PARAMS
    assert isinstance(refusal(b'{"query":"a","params":[%b,1]}' % most), TooManyParameters)


def test_a_million_parameters_are_refused() -> None:
    assert isinstance(refusal(b'{"query":"a","params":[1%b]}' % (b",1" * 999_999)), TooManyParameters)


def test_a_batch_longer_than_the_limit_is_refused() -> None:
    most = b",".join([b'{"query":"a"}'] * MAX_STATEMENTS)

    assert len(read_request(b'{"queries":[%b]}' % most).statements) == MAX_STATEMENTS
    assert isinstance(refusal(b'{"queries":[%b,{"query":"a"}]}' % most), TooManyStatements)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"query":"a","params":[%b%b]}' % (b"[" * (MAX_ARRAY_DEPTH + 1), b"]" * (MAX_ARRAY_DEPTH + 1)),
        b'{"query":"a","params":[%b1.5%b]}' % (b"[" * 900, b"]" * 900),
        b'{"query":"a","params":[%b1%b]}' % (b'{"a":' * 300, b"}" * 300),
        b'{"query":"a","params":[%b1.5%b]}' % (b'{"a":' * 900, b"}" * 900),
        b'{"query":"a","params":[1e400,%b]}' % (b"[" * 100_000),
    ],
)
def test_what_is_nested_too_deep_is_refused(body: bytes) -> None:
    assert isinstance(refusal(body), NestedTooDeep)


def test_arrays_up_to_the_depth_limit_are_read() -> None:
    nested = "[" * MAX_ARRAY_DEPTH + "]" * MAX_ARRAY_DEPTH

    assert param(nested) == nested.replace("[", "{").replace("]", "}").encode()
