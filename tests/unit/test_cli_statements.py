"""What is typed is cut into statements where Postgres would cut it, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergate.cli.psql import split
from tiergate.cli.statements import Script

WHOLE = [
    "SELECT 1",
    "SELECT ';'",
    "SELECT 'it''s; '",
    r"SELECT E'\'; '",
    r"SELECT '\'",
    'SELECT ";"',
    'SELECT "a""; "',
    "SELECT $$ ; $$",
    "SELECT $tag$ ; $$ ; $tag$",
    "SELECT a$b$, 1 AS c$b$",
    "SELECT $1, $2",
    "SELECT 1 /* ; /* ; */ ; */ + 1",
    "SELECT 1 -- ; '\n+ 1",
    "SELECT (1; 2)",
    "SELECT somee'x' ",
]


@pytest.mark.parametrize("statement", WHOLE)
def test_a_semicolon_inside_of_something_ends_nothing(statement: str) -> None:
    assert split(f"{statement}; SELECT 2;") == [statement.strip(), "SELECT 2"]


@pytest.mark.parametrize("statement", WHOLE)
def test_it_makes_no_difference_where_lines_end(statement: str) -> None:
    script = Script()
    done = [each for character in f"{statement};" for each in script.feed(character)]

    assert done == [statement.strip()]
    assert script.is_empty


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("", ""),
        ("SELECT", ""),
        ("SELECT 'a", "'"),
        ("SELECT E'a\\'", "'"),
        ('SELECT "a', '"'),
        ("SELECT $x$ $$", "$"),
        ("SELECT /* /* */", "*"),
        ("SELECT (1", "("),
        ("SELECT 1 -- '", ""),
    ],
)
def test_the_prompt_can_say_what_is_still_open(text: str, within: str) -> None:
    script = Script()
    script.feed(text)

    assert script.within == within


@pytest.mark.parametrize("text", ["", ";;;", " \n ; ", "-- nothing;\n;", "-- nothing"])
def test_what_says_nothing_is_no_statement(text: str) -> None:
    assert split(text) == []


def test_the_last_statement_of_a_file_needs_no_semicolon() -> None:
    assert split("SELECT 1;\nSELECT 2\n") == ["SELECT 1", "SELECT 2"]


@given(st.text(alphabet="ab1$'\";-/*()\\ \nE", max_size=60))
def test_typing_gives_what_pasting_gives_and_changes_nothing(text: str) -> None:
    pasted, typed = Script(), Script()
    done = pasted.feed(text)

    assert [each for character in text for each in typed.feed(character)] == done
    assert typed.within == pasted.within
    rest = pasted.rest()
    assert typed.rest() == rest
    at = 0
    for statement in [*done, rest]:
        at = text.index(statement, at) + len(statement)


@given(st.lists(st.sampled_from(WHOLE), max_size=5))
def test_what_was_joined_is_taken_apart_again(statements: list[str]) -> None:
    assert split(";\n".join(statements)) == [statement.strip() for statement in statements]
