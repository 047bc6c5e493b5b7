"""Names and texts written into DDL come back from a real server as they went in."""

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from fleet.errors import Unquotable
from fleet.identifier import MAX_BYTES, quote_identifier, quote_literal

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = texts.filter(lambda text: 0 < len(text.encode()) <= MAX_BYTES)
on_a_server = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@pytest.fixture(scope="module")
def connection(module_database: str) -> Iterator[psycopg.Connection[TupleRow]]:
    with psycopg.connect(module_database, autocommit=True) as opened:
        yield opened


@on_a_server
@given(names)
@example('"; DROP SCHEMA public CASCADE; --')
@example("a\\'\"b; --")
@example("é" * 31 + "x")
@example("%s %(x)s {}")
def test_any_name_of_63_bytes_becomes_a_schema_of_that_name(
    connection: psycopg.Connection[TupleRow], name: str
) -> None:
    assume(not name.startswith("pg_"))  # Postgres keeps these for itself
    before = _schemas(connection)
    assume(name not in before)

    connection.execute(f"CREATE SCHEMA {quote_identifier(name)}".encode())

    assert _schemas(connection) - before == {name}
    connection.execute(f"DROP SCHEMA {quote_identifier(name)}".encode())
    assert _schemas(connection) == before


@on_a_server
@given(texts)
@example("'; DROP SCHEMA public CASCADE; --")
@example("\\'; DROP SCHEMA public CASCADE; --")
@pytest.mark.parametrize("standard", ["on", "off"])
def test_any_text_is_one_literal_whatever_backslashes_mean(
    connection: psycopg.Connection[TupleRow], standard: str, text: str
) -> None:
    connection.execute(
        f"SET standard_conforming_strings = {standard}; SET escape_string_warning = off".encode()
    )

    rows = connection.execute(f"SELECT {quote_literal(text)}::text".encode()).fetchall()

    assert rows == [(text,)]


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "a\0b", "\ud800"])
def test_a_name_that_postgres_would_cut_or_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(Unquotable):
        quote_identifier(name)


@pytest.mark.parametrize("text", ["a\0b", "\udfff"])
def test_a_text_that_postgres_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(Unquotable):
        quote_literal(text)


def _schemas(connection: psycopg.Connection[TupleRow]) -> set[str]:
    return {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}
