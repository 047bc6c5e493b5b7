"""What the guard lets through and what not, each for the reason that it gives."""

import pytest
from postgast import pg_query_pb2

from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import (
    StatementForbidden,
    StatementNotPassed,
    StatementRefused,
    StatementTooComplex,
    StatementUnreadable,
)
from guard.grammar import GRAMMAR, NODES, PLAIN
from guard.names import checks
from guard.verdict import Guard, parts
from tests.support.hostile import POSITIONS, hostile
from tests.support.passing import PASSING, rows
from tiergate.tenant import Tier

OWN = frozenset({"public", "app"})
ADDED = Additions(functions=frozenset({"total"}), types=frozenset({"mood"}), operators=frozenset({"<=>"}))
STANDARD, PREMIUM = Tier.STANDARD, Tier.PREMIUM
GUARD = Guard(
    {
        STANDARD: catalog(Additions(), schemas=OWN, explain=False),
        PREMIUM: catalog(ADDED, schemas=OWN, explain=True),
    }
)

FORBIDDEN = """
lower("pg_catalog".lower(current_query()))|the function "current_query"
a.lower(1)|the schema "a"
app.lower(1)|the function "lower"
total(1)|the function "total"
app.total(1)|the function "total"
"LOWER"(a)|the function "LOWER"
current_setting('x')|the setting "x"
current_setting('tiergate.context', true)|the setting "tiergate.context"
current_setting('server' || '_version')|the function "current_setting"
current_setting($1)|the function "current_setting"
pg_catalog.current_setting(setting_name => 'TimeZone')|the function "current_setting"
COLLATION FOR (a)|the function "pg_collation_for"
xmlexists('a' PASSING b)|the function "xmlexists"
treat(a AS oid)|the function "oid"
a.xid|the attribute "xid"
a.current_setting|the attribute "current_setting"
app.t.current_setting|the attribute "current_setting"
(a).nextval|the attribute "nextval"
(a).b.nextval|the attribute "nextval"
(a).b[1].nextval|the attribute "nextval"
(f.x).pg_anything|the attribute "pg_anything"
a.lo_anything|the attribute "lo_anything"
a.dblink_exec|the attribute "dblink_exec"
(SELECT a).regclass|the attribute "regclass"
a.b.c|the schema "a"
a.b.c.d|the name of a database "a"
a.b.*|the schema "a"
a::oid|the type "oid"
a::app.xid|the type "xid"
a::app._regclass|the type "_regclass"
a::app.pg_class|the type "pg_class"
a::mood|the type "mood"
a::other.mood|the schema "other"
(SELECT 1 FROM json_to_record('{}') AS r(a SETOF int))|SETOF
a::regclass[]|the type "regclass"
a::app.mood(current_query())|the function "current_query"
xml '<a/>'|the type "xml"
a COLLATE other.c|the schema "other"
a COLLATE "x y"|the collation "x y"
a COLLATE pg_sleep|the collation "pg_sleep"
a === b|the operator "==="
a <=> b|the operator "<=>"
a OPERATOR(other.=) b|the schema "other"
a = ANY (SELECT b::oid)|the type "oid"
a === ANY (SELECT b)|the operator "==="
xmin|the system column "xmin"
t.ctid|the system column "ctid"
(t).tableoid|the system column "tableoid"
old.xmax|the system column "xmax"
current_user|current_user
CURRENT_SCHEMA|current_schema
user|user
$65536|the parameter "$65536"
$268435455|the parameter "$268435455"
xmlconcat(a)|XML
xmlserialize(CONTENT a AS text)|XML
a IS DOCUMENT|XML
(SELECT 1 FROM pg_class)|the table "pg_class"
(SELECT 1 FROM app.pg_class)|the table "pg_class"
(SELECT 1 FROM pg_catalog.t)|the schema "pg_catalog"
(SELECT 1 FROM a.b.t)|the name of a database
(SELECT 1 FROM t TABLESAMPLE bernoulli (1))|TABLESAMPLE
(SELECT 1 FROM t JOIN u USING (cmin))|the system column "cmin"
(SELECT 1 FROM f(1) AS r(a int))|the function "f"
(SELECT 1 FROM json_to_record('{}') AS r(a xid))|the type "xid"
(SELECT 1 FROM t ORDER BY a USING ===)|the operator "==="
(SELECT 1 FROM t FOR UPDATE OF pg_class)|the table "pg_class"
"""

REFUSED = """
EXPLAIN SELECT 1|EXPLAIN does not run here
SELECT 1; SELECT 2|more than one statement
SELECT 1;; ; DROP TABLE t|more than one statement
;;|there is no statement
|there is no statement
-- nothing|there is no statement
CREATE TABLE t AS SELECT 1|CREATE does not run here
/* x */ SET a = 1|SET does not run here
COPY t TO STDOUT|COPY does not run here
"""


def verdict(text: str, tier: Tier = STANDARD) -> StatementNotPassed | None:
    try:
        GUARD.judge(text, tier)
    except StatementNotPassed as exc:
        return exc
    return None


@pytest.mark.parametrize("text", PASSING)
def test_what_applications_say_passes(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize("text", POSITIONS)
def test_each_place_of_an_expression_takes_a_harmless_one(text: str) -> None:
    assert verdict(text.replace("{}", "a")) is None


@pytest.mark.parametrize("row", rows(FORBIDDEN))
def test_what_is_not_listed_is_forbidden_by_its_name(row: str) -> None:
    expression, _, what = row.rpartition("|")

    found = verdict(f"SELECT {expression}")

    assert isinstance(found, StatementForbidden)
    assert str(found) == f"statements must not use {what}"


@pytest.mark.parametrize("row", rows(REFUSED))
def test_what_is_not_one_statement_of_a_kind_that_runs_is_refused(row: str) -> None:
    text, _, why = row.rpartition("|")

    found = verdict(text)

    assert isinstance(found, StatementRefused)
    assert why in str(found)


def test_no_hostile_payload_passes_in_any_place() -> None:
    texts = hostile()

    assert len(texts) > 7_000
    assert [text for text in texts if verdict(text) is None] == []


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("SELECT 1, current_query()", 11),
        ("SELECT 'äöü€𐍈', current_query()", 17),
        ("SELECT a FROM pg_class", 15),
        ("SELECT 1; SELECT 2", 11),
        ("SELECT 'ä' FORM t x", 17),
        ("SELECT $70000", 8),
        ("SELECT '\0'", 9),
        ("SELECT '\ud800'", 9),
    ],
)
def test_the_place_is_told_in_characters_from_1(text: str, position: int) -> None:
    found = verdict(text)

    assert found is not None
    assert found.position == position


@pytest.mark.parametrize(
    "text", ["SELEC 1", "SELECT 'a", "SELECT (1", "SELECT 1 /* a", 'SELECT ""', "SELECT E'\\xff'"]
)
def test_what_is_not_in_the_grammar_is_told_in_the_words_of_the_parser(text: str) -> None:
    assert isinstance(verdict(text), StatementUnreadable)


def test_a_refusal_repeats_no_more_than_a_name() -> None:
    longest = max(len(str(verdict(f"SELECT {'x' * n}(1) {'y' * n} {'z' * n}"))) for n in (10, 1000, 20_000))

    assert longest < 200
    assert "secret" not in str(verdict("SELECT pg_sleep(1), 'secret'"))


def test_what_one_tier_adds_is_not_known_on_another() -> None:
    texts = ["SELECT total(a), app.total(a), (t).total, a::mood, b <=> c FROM t"]

    assert [verdict(text, PREMIUM) for text in texts] == [None]
    assert None not in [verdict(text, STANDARD) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE VERBOSE DELETE FROM t",
        "EXPLAIN (FORMAT json, COSTS off, BUFFERS) TABLE t",
    ],
)
def test_plans_are_told_where_the_tier_allows_it(text: str) -> None:
    assert verdict(text, PREMIUM) is None
    assert isinstance(verdict(text, STANDARD), StatementRefused)


def test_what_is_explained_is_judged_like_the_rest() -> None:
    assert isinstance(verdict("EXPLAIN SELECT current_query()", PREMIUM), StatementForbidden)
    assert isinstance(verdict("EXPLAIN (SETTINGS) SELECT 1", PREMIUM), StatementForbidden)
    assert isinstance(verdict("EXPLAIN CREATE TABLE x AS SELECT 1", PREMIUM), StatementRefused)
    assert isinstance(verdict("EXPLAIN EXECUTE p", PREMIUM), StatementRefused)


def test_long_texts_are_left_to_a_thread_and_judged_alike() -> None:
    long = f"SELECT {', '.join(['lower(a)'] * 900)} FROM t"

    assert not GUARD.judge_now([long], STANDARD)
    assert GUARD.judge_now(["SELECT 1"], STANDARD)
    assert verdict(long) is None
    assert isinstance(verdict(long.replace("lower", "pg_sleep")), StatementForbidden)
    with pytest.raises(StatementForbidden):
        GUARD.judge_now(["SELECT 1", "SELECT current_query()"], STANDARD)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t (a, b) VALUES " + ", ".join(f"(${n}, ${n + 1})" for n in range(1, 4000, 2)),
        f"SELECT a FROM t WHERE a IN ({', '.join(map(str, range(9000)))})",
        "SELECT a FROM t WHERE " + " OR ".join(["a = 1"] * 900),
        "SELECT a FROM t WHERE " + " OR ".join(["(a, b) = (1, 2)"] * 300),
        "UPDATE t SET a = CASE " + " ".join(f"WHEN a = {n} THEN 1" for n in range(450)) + " END",
        "SELECT " + " || ".join(["a"] * 450),
        " UNION ALL ".join(["SELECT a, b FROM t"] * 400),
        "SELECT " + "f(".replace("f", "lower") * 200 + "a" + ")" * 200,
        "SELECT " + "(SELECT " * 100 + "1" + ")" * 100,
    ],
)
def test_what_is_large_but_plain_passes(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '" + "x" * 65_536 + "'",
        "SELECT " + ", ".join(["1"] * 10_001),
        "SELECT " + "+".join(["a"] * 2_100),
        "SELECT 1 " + "+-" * 600 + " 1",
        "SELECT " + "@ " * 1_100 + "1",
        "UPDATE t SET (a, b) = (1, 2)" + ", (a, b) = (1, 2)" * 1_500,
    ],
    ids=["bytes", "tokens", "path", "operators", "levels", "written twice"],
)
def test_what_is_too_intricate_is_not_read(text: str) -> None:
    assert isinstance(verdict(text), StatementTooComplex)


@pytest.mark.parametrize("name", GRAMMAR)
def test_the_grammar_agrees_with_the_parser_about_what_a_field_holds(name: str) -> None:
    """A plain value with nodes within would go unseen."""
    told = {field.json_name: field for field in pg_query_pb2.DESCRIPTOR.message_types_by_name[name].fields}

    for field, kind in GRAMMAR[name].items():
        held = told[field].message_type
        match kind:
            case "":
                is_constant = name == "A_Const"
                assert (
                    held is None
                    or is_constant
                    or name in checks(catalog(Additions(), schemas=OWN, explain=False))
                )
            case "*":
                assert held.name == "Node"
            case _:
                assert held.name == kind


def test_every_class_that_is_held_is_known() -> None:
    held = {kind for fields in GRAMMAR.values() for kind in fields.values()} - {NODES, PLAIN}

    assert held <= GRAMMAR.keys()
    assert checks(catalog(Additions(), schemas=OWN, explain=False)).keys() <= GRAMMAR.keys()


def test_a_batch_that_is_long_together_is_left_to_threads_part_by_part() -> None:
    """A thousand texts of 4,000 characters held the event loop up for 38 s, on two busy cores."""
    texts = [f"SELECT {', '.join(['lower(a)'] * 90)} FROM t -- {number}" for number in range(100)]

    assert not GUARD.judge_now(texts, STANDARD)
    assert GUARD.judge_now(texts[:4], STANDARD)
    cut = list(parts(texts))
    assert [text for part in cut for text in part] == texts
    assert all(GUARD.judge_now(part, STANDARD) for part in cut)
    assert len(cut) < len(texts)
    with pytest.raises(StatementForbidden):
        GUARD.judge_all([*texts, "SELECT current_query()"], STANDARD)


def test_a_longer_text_is_a_part_by_itself() -> None:
    long = "SELECT " + "1, " * 2000 + "1"

    assert list(parts(["SELECT 1", long, "SELECT 2"])) == [["SELECT 1"], [long], ["SELECT 2"]]
    assert list(parts([])) == []
