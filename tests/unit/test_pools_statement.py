"""The fence goes in front of every query, wherever it begins; anything else is refused."""

import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pools.errors import StatementCostly, StatementRefused, StatementTooLong
from pools.statement import Reach, Renaming, fence

CTE = "tiergate_q AS (SELECT 1)"


def sent(text: str) -> str:
    """What the server gets for *text*."""
    return fence(text).sql.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", f"WITH {CTE} SELECT 1"),
        ("select 1", f"WITH {CTE} select 1"),
        ("SELECT\n1", f"WITH {CTE} SELECT\n1"),
        ("VALUES (1)", f"WITH {CTE} VALUES (1)"),
        ("TABLE notes", f"WITH {CTE} TABLE notes"),
        ("INSERT INTO notes VALUES (1)", f"WITH {CTE} INSERT INTO notes VALUES (1)"),
        ("UPDATE notes SET id = 1", f"WITH {CTE} UPDATE notes SET id = 1"),
        ("DELETE FROM notes", f"WITH {CTE} DELETE FROM notes"),
        ("MERGE INTO notes", f"WITH {CTE} MERGE INTO notes"),
        ("  \t\r\n\f\vSELECT 1", f"  \t\r\n\f\vWITH {CTE} SELECT 1"),
        ("-- a\nSELECT 1", f"-- a\nWITH {CTE} SELECT 1"),
        ("-- a\rSELECT 1", f"-- a\rWITH {CTE} SELECT 1"),
        ("--\n--\nSELECT 1", f"--\n--\nWITH {CTE} SELECT 1"),
        ("/* a */SELECT 1", f"/* a */WITH {CTE} SELECT 1"),
        ("/* a /* b */ c */ SELECT 1", f"/* a /* b */ c */ WITH {CTE} SELECT 1"),
        ("/**/SELECT 1", f"/**/WITH {CTE} SELECT 1"),
        ("/*/**/*/SELECT 1", f"/*/**/*/WITH {CTE} SELECT 1"),
        ("/*/*/ */ */SELECT 1", f"/*/*/ */ */WITH {CTE} SELECT 1"),
        ("/* -- */SELECT 1", f"/* -- */WITH {CTE} SELECT 1"),
        ("-- /*\nSELECT 1", f"-- /*\nWITH {CTE} SELECT 1"),
        ("/* ' */SELECT 1", f"/* ' */WITH {CTE} SELECT 1"),
        ("(SELECT 1)", "(SELECT 1)"),
        ("/* a */ ((VALUES (1)))", "/* a */ ((VALUES (1)))"),
        ("WITH a AS (SELECT 1) TABLE a", f"WITH {CTE}, a AS (SELECT 1) TABLE a"),
        ("WITH/**/a AS (SELECT 1) TABLE a", f"WITH {CTE},/**/a AS (SELECT 1) TABLE a"),
        ('WITH"a"AS (SELECT 1) TABLE a', f'WITH {CTE},"a"AS (SELECT 1) TABLE a'),
        ("WITH RECURSIVE a AS (SELECT 1) TABLE a", f"WITH RECURSIVE {CTE}, a AS (SELECT 1) TABLE a"),
        ("with /* b */ recursive a AS (SELECT 1) TABLE a",
        f"with /* b */ recursive {CTE}, a AS (SELECT 1) TABLE a"),
        ("WITH recursively AS (SELECT 1) TABLE a", f"WITH {CTE}, recursively AS (SELECT 1) TABLE a"),
    ],
)  # fmt: skip
def test_the_fence_goes_in_front_of_the_query(text: str, expected: str) -> None:
    assert sent(text) == expected


@pytest.mark.parametrize(
    "text", ["WITH recursive AS (SELECT 1) TABLE recursive", "WITH recursive (a) AS (SELECT 1)"]
)
def test_a_query_may_be_named_recursive_since_that_is_no_reserved_word(text: str) -> None:
    assert sent(text) == text.replace("WITH", f"WITH {CTE},", 1)


def test_a_name_that_begins_like_recursive_is_another_name() -> None:
    assert sent("WITH recursiveé AS (SELECT 1) TABLE x") == f"WITH {CTE}, recursiveé AS (SELECT 1) TABLE x"


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("SET role x", "set"), ("COMMIT", "commit"), ("begin", "begin"), ("DO $$x$$", "do"),
        ("COPY t TO STDOUT", "copy"),
        ("PREPARE x AS SELECT 1", "prepare"), ("EXPLAIN SELECT 1", "explain"), ("LISTEN x", "listen"),
        ("/* SELECT 1 */ LOCK t", "lock"), ("-- SELECT 1\nTRUNCATE t", "truncate"), ("SELECTED", "selected"),
        ("SELECT_1", "select_1"), ("SELECTé", "selecté"), ("WITHé AS (SELECT 1) SELECT 1", "withé"),
        ("éSELECT 1", "éselect"), ("\N{NO-BREAK SPACE}SELECT 1", "\N{NO-BREAK SPACE}select"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}SELECT 1", "\N{ZERO WIDTH NO-BREAK SPACE}select"),
    ],
)  # fmt: skip
def test_a_text_that_begins_with_another_word_is_refused(text: str, keyword: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        fence(text)

    assert refused.value.keyword == keyword


@pytest.mark.parametrize("text", ["", " ", ";", "; SELECT 1", "-- SELECT 1", "/* SELECT 1",
                                  "/* /* */ SELECT 1",
                                  "'SELECT 1'", '"select" 1', "$$x$$", "1", "\\", "\0SELECT 1",
                                  "/ * SELECT"])  # fmt: skip
def test_a_text_that_begins_with_no_word_is_refused(text: str) -> None:
    with pytest.raises(StatementRefused, match="there is no statement in the text"):
        fence(text)


def test_a_refusal_repeats_no_more_of_the_text_than_a_name_has() -> None:
    with pytest.raises(StatementRefused) as refused:
        fence("x" * 1_000_000)

    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "text",
    ["SELECT #", "  SELECT #", "/* é\N{SLICE OF PIZZA} */ SELECT 'é', #", "(SELECT #)",
     "WITH a AS (SELECT #) TABLE a",
     "WITH RECURSIVE a AS (SELECT #) TABLE a", "-- x\nINSERT INTO t VALUES (#)"],
)  # fmt: skip
def test_a_position_behind_the_fence_is_told_as_in_the_callers_text(text: str) -> None:
    fenced = fence(text)
    reported = fenced.sql.decode().index("#") + 1

    assert fenced.position(reported) == text.index("#") + 1


@pytest.mark.parametrize("text", ["SELECT 1", "  SELECT 1", "WITH a AS (SELECT 1) TABLE a"])
def test_a_position_in_front_of_the_fence_stays_and_one_inside_is_told_as_its_place(text: str) -> None:
    fenced = fence(text)
    at = fenced.sql.decode().index(CTE) - len("WITH ")

    assert [fenced.position(reported) for reported in range(1, at + 1)] == list(range(1, at + 1))
    assert fenced.position(at + 8) in {at + 1, at + 5}


TOKENS = st.sampled_from(
    ["SELECT", "select", "WITH", "RECURSIVE", "recursive", "AS", "(", ")", "SET", "COMMIT", "DO", "a", "1",
     ";",
     "'", '"', "$$", "--", "/*", "*/", "\n", "\r", " ", "\t", "\v", "\0", "é", "\N{KELVIN SIGN}", "/", "*",
     "-", ",",
     "INSERT", "$1"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(TOKENS, max_size=12).map("".join)))
@example("/*/**/*/select")
def test_any_text_is_refused_or_is_sent_whole_with_nothing_but_the_fence_added(text: str) -> None:
    try:
        whole = sent(text)
    except StatementRefused:
        return

    for added in (f"WITH {CTE} ", f" {CTE},", ""):
        if added in whole and whole.replace(added, "", 1) == text:
            break
    else:
        raise AssertionError(whole)
    assert added or text.lstrip()[0] in "(/-"


@given(st.lists(TOKENS, max_size=12).map("".join), st.integers(1, 200))
def test_every_position_in_what_is_sent_is_one_in_the_text(text: str, reported: int) -> None:
    try:
        fenced = fence(text)
    except StatementRefused:
        return
    reported = min(reported, len(fenced.sql.decode()))

    assert 1 <= fenced.position(reported) <= len(text) + 1


@pytest.mark.parametrize(
    "head", ["/*" * 200_000, "-" * 400_000 + "\n", "--\n" * 150_000, "\n" * 400_000, "/**/" * 100_000]
)
def test_a_long_head_is_read_in_one_go(head: str) -> None:
    began = time.perf_counter()
    with suppress(StatementRefused, StatementCostly):
        fence(head + "SELECT 1")

    assert time.perf_counter() - began < 2


def test_long_texts_are_not_remembered() -> None:
    """4,096 texts of 10 MB each would be the gateway's end."""
    long = "SELECT '" + "x" * 5000 + "'"

    assert fence(long) == fence(long)
    assert fence(long) is not fence(long)
    assert fence("SELECT 1") is fence("SELECT 1")


APP = Renaming(frozenset({"public", "app"}), "pl_x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(SELECT * FROM public.notes)", '(SELECT * FROM "pl_x".notes)'),
        ('(SELECT "app"."notes".id FROM App . notes)', '(SELECT "pl_x"."notes".id FROM "pl_x" . notes)'),
        ("(SELECT public/**/./**/notes)", '(SELECT "pl_x"/**/./**/notes)'),
        (
            "(SELECT 'public.notes', $$app.x$$, \"public.a\")",
            "(SELECT 'public.notes', $$app.x$$, \"public.a\")",
        ),
        ("(SELECT 1 /* public.notes */ -- app.notes\n)", "(SELECT 1 /* public.notes */ -- app.notes\n)"),
        ("(SELECT a.public.b, public, publicly.x)", "(SELECT a.public.b, public, publicly.x)"),
        ('(SELECT "Public".x, "PUBLIC".y)', '(SELECT "Public".x, "PUBLIC".y)'),
        ("(SELECT 'é', public.\N{SLICE OF PIZZA})", "(SELECT 'é', \"pl_x\".\N{SLICE OF PIZZA})"),
        ('(SELECT U&"public".a, u&"\\0061p\\+000070".b)', '(SELECT "pl_x".a, "pl_x".b)'),
        ("""(TABLE U&"publi!0063" /**/ UESCAPE '!' .a)""", '(TABLE "pl_x" .a)'),
        ("""(SELECT 'U&"public".a', a.U&"public".b, U&"x".c)""",) * 2,
        (
            '(SELECT U&"\\+ffffffpublic".a, U&"pub".x, PUBLIC.Y)',
            '(SELECT U&"\\+ffffffpublic".a, U&"pub".x, "pl_x".Y)',
        ),
        ("(SELECT 'unterminated public.x", "(SELECT 'unterminated public.x"),
    ],
)
def test_the_schema_that_callers_write_becomes_the_one_of_the_place(text: str, expected: str) -> None:
    assert fence(text, APP).sql.decode() == expected


def test_a_position_behind_a_renamed_schema_is_told_as_in_the_callers_text() -> None:
    text = "  SELECT 'é', public.a, app.b, #"
    fenced = fence(text, APP)

    assert fenced.position(fenced.sql.decode().index("#") + 1) == text.index("#") + 1
    assert fenced.position(fenced.sql.decode().index('"pl_x".b') + 1) == text.index("app.b") + 1


def test_a_text_too_long_to_be_searched_is_refused_only_where_it_names_the_schema() -> None:
    long = "SELECT '" + "x" * 300_000 + "'"

    assert fence(long, APP).edits
    with pytest.raises(StatementTooLong):
        fence(long + ", public.x", APP)


def test_renaming_takes_time_in_proportion_to_the_text() -> None:
    """Each place was found by reading all that stands before it."""

    def took_s(names: int) -> float:
        text = "(SELECT '" + "é" * 20_000 + "'" + ", app.a" * names + ")"
        began = time.process_time()  # that others use the machine too is not its time
        assert fence(text, APP).sql.count(b'"pl_x"') == names
        return time.process_time() - began

    assert min(took_s(6_000) for _ in range(3)) < 10 * min(took_s(1_500) for _ in range(3))


@pytest.mark.parametrize(
    "text", ["SELECT " + "+" * 2000 + "1", "SELECT 1 " + "/**/" * 500, "SELECT 1 " + "/*" * 600 + "*/" * 600]
)
def test_a_text_that_the_scanner_would_take_seconds_for_is_refused(text: str) -> None:
    with pytest.raises(StatementCostly):
        fence(text)


def test_a_parameter_that_the_server_would_make_room_for_is_refused() -> None:
    for text in ("SELECT $65536", "SELECT $268435455", "SELECT $00000099999"):
        with pytest.raises(StatementCostly):
            fence(text)
    for text in ("SELECT $65535", "SELECT '$268435455'", "SELECT 1 -- $268435455"):
        assert fence(text).sql


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EXPLAIN SELECT 1", f"EXPLAIN WITH {CTE} SELECT 1"),
        ("explain analyze verbose select 1", f"explain analyze verbose WITH {CTE} select 1"),
        ("EXPLAIN/**/ANALYZE/**/SELECT 1", f"EXPLAIN/**/ANALYZE/**/WITH {CTE} SELECT 1"),
        ("EXPLAIN (ANALYZE, FORMAT json) DELETE FROM t",
         f"EXPLAIN (ANALYZE, FORMAT json) WITH {CTE} DELETE FROM t"),
        ("EXPLAIN (COSTS off) WITH a AS (SELECT 1) TABLE a",
         f"EXPLAIN (COSTS off) WITH {CTE}, a AS (SELECT 1) TABLE a"),
    ],
)  # fmt: skip
def test_where_plans_may_be_seen_the_fence_stands_before_the_query(text: str, expected: str) -> None:
    assert fence(text, reach=Reach.PLANS).sql.decode() == expected
    assert not fence(text, reach=Reach.ANYTHING).is_free


@pytest.mark.parametrize(
    "text",
    ["EXPLAIN", "EXPLAIN EXECUTE x", "EXPLAIN CREATE TABLE a AS SELECT 1",
     "EXPLAIN DECLARE c CURSOR FOR SELECT 1",
     'EXPLAIN ("analyze") CREATE TABLE a AS SELECT 1', "EXPLAIN (analyze 'on') EXECUTE x",
     "EXPLAIN ANALYZE (costs off) EXECUTE x", "EXPLAIN ((SELECT 1))", "EXPLAIN (ANALYZE) (SELECT 1)",
     "EXPLAIN EXPLAIN SELECT 1", "SET role x", "COMMIT"],
)  # fmt: skip
def test_where_plans_may_be_seen_nothing_else_is_let_through(text: str) -> None:
    with pytest.raises(StatementRefused):
        fence(text, reach=Reach.PLANS)


@pytest.mark.parametrize(
    "text", ["CREATE TABLE a (b int)", "SET role x", "DO $$BEGIN END$$", "EXPLAIN EXECUTE x"]
)
def test_where_all_of_sql_is_let_through_other_statements_go_out_as_they_are(text: str) -> None:
    fenced = fence(text, reach=Reach.ANYTHING)

    assert (fenced.sql.decode(), fenced.is_free) == (text, True)


def test_where_all_of_sql_is_let_through_a_query_still_has_its_fence() -> None:
    assert fence("SELECT 1", reach=Reach.ANYTHING) == fence("SELECT 1")


@pytest.mark.parametrize(
    "text",
    ["", ";", "/* CREATE TABLE a () */", "BEGIN", "START TRANSACTION", "COMMIT", "END", "ABORT", "ROLLBACK",
     "SAVEPOINT a", "RELEASE a", "PREPARE TRANSACTION 'a'", "COPY a TO STDOUT", "/**/commit"],
)  # fmt: skip
def test_nothing_ends_the_transaction_wherever_it_is_sent(text: str) -> None:
    for reach in Reach:
        with pytest.raises(StatementRefused):
            fence(text, reach=reach)
