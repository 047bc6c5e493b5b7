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
from guard.verdict import Guard
from tests.support.hostile import POSITIONS, hostile
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

PASS = """
SELECT 1
SELECT
SELECT 1;
/* a */ SELECT -- b
(SELECT 1)
((SELECT 1) LIMIT 1)
VALUES (1, 'a'), (2, $1)
TABLE members
TABLE app.members
SELECT * FROM members
SELECT m.*, count(*) OVER () AS n FROM public.members AS m
SELECT "public"."members"."id", "public"."members".* FROM "public"."members" WHERE 1=1
SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC NULLS LAST
SELECT ALL a FROM ONLY t
SELECT a AS "Sum", b "user", c AS current_user, d AS ctid FROM t
SELECT a FROM t WHERE a = ANY ($1::int[]) AND b <> ALL ('{1,2}'::int4[]) AND c IN (1, 2)
SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN SYMMETRIC 2 AND 1
SELECT a FROM t WHERE a LIKE 'x%' ESCAPE '!' OR a NOT ILIKE $1 OR a SIMILAR TO 'b' OR a ~* 'c'
SELECT a FROM t WHERE a IS NULL OR b IS NOT TRUE OR c IS DISTINCT FROM d OR e IS NOT UNKNOWN
SELECT a FROM t WHERE (a, b) > ($1, $2) ORDER BY a, b FETCH FIRST 10 ROWS WITH TIES
SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a) AND b > ALL (SELECT 1) AND (a, b) IN
    (SELECT 1, 2)
SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN b THEN 1 END FROM t
SELECT coalesce(a, 1), nullif(a, 2), greatest(a, b), least(a, b) FROM t
SELECT a::text, CAST(b AS numeric(10, 2)), date '2030-01-01', interval '1 day', timestamptz 'now' FROM t
SELECT a::varchar(10)[], b::"char", c::_text, d::pg_catalog.int8, e::double precision, f::bit(3), g::time(3)
SELECT '{}'::jsonb -> 'a' ->> 'b', a #>> '{a,b}', a @> '{}', a ? 'x', a ?| $1, a @? '$.a', a - 'b' FROM t
SELECT (ARRAY[1])[1:2], a[1][2], ARRAY(SELECT 1), a || b, a && b FROM t
SELECT (x).name, (x).y.z, (x).*, t.a, app.t.a FROM t
SELECT ROW(1, 2), (1, 2), ROW(t.*) FROM t
SELECT a COLLATE "C", a COLLATE "de-x-icu", a COLLATE "en_US.utf8", a COLLATE app.german FROM t
SELECT a FROM t ORDER BY a COLLATE pg_catalog."default" USING <
SELECT now(), current_date, current_timestamp(3), localtime, localtimestamp, CURRENT_TIME
SELECT now() AT TIME ZONE 'UTC', extract(year FROM a), date_trunc('day', a), overlay('a' PLACING 'b' FROM 1)
SELECT trim(BOTH 'x' FROM a), substring(a FROM 2 FOR 3), substring(a SIMILAR 'b' ESCAPE 'c'),
    position('a' IN b)
SELECT normalize(a, NFC), a IS NFC NORMALIZED, (a, b) OVERLAPS (c, d) FROM t
SELECT pg_catalog.lower(a), "lower"(a), LOWER(a), date('2030-01-01'), int4(1.5), make_interval(days => 1)
SELECT gen_random_uuid(), random(), clock_timestamp(), uuidv7(), md5('a'), encode(sha256('a'), 'hex')
SELECT concat(VARIADIC ARRAY['a']), format('%s', a), string_agg(DISTINCT a, ',' ORDER BY a) FILTER (WHERE
    b) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), mode() WITHIN GROUP (ORDER BY b) FROM t
SELECT rank() OVER w, lag(a, 1) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t WINDOW w AS
    (PARTITION BY b ORDER BY c)
SELECT sum(a) OVER (ORDER BY b GROUPS UNBOUNDED PRECEDING EXCLUDE TIES) FROM t
SELECT a, grouping(a) FROM t GROUP BY GROUPING SETS ((a), ()), ROLLUP (b), CUBE (c) HAVING count(*) > 1
SELECT a FROM t GROUP BY DISTINCT a
SELECT a FROM t UNION ALL SELECT b FROM u INTERSECT SELECT 1 EXCEPT VALUES (2) ORDER BY 1 LIMIT 5 OFFSET 2
SELECT 1 FROM t JOIN u ON t.a = u.a LEFT JOIN v USING (a) AS j NATURAL JOIN w CROSS JOIN x FULL JOIN y ON true
SELECT 1 FROM t, LATERAL (SELECT t.a) AS s(b), u AS k(c, d)
SELECT g FROM generate_series(1, 10) WITH ORDINALITY AS g(a, n)
SELECT 1 FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r
SELECT r.a FROM json_to_recordset($1) AS r(a int, b text COLLATE "C", c jsonb[])
SELECT j.* FROM jsonb_each('{}') j, jsonb_array_elements_text(a) e
SELECT JSON_OBJECT('a' : 1, 'b' VALUE 2 ABSENT ON NULL), JSON_ARRAY(1, 2 RETURNING jsonb),
    JSON_ARRAY(SELECT 1)
SELECT JSON_OBJECTAGG(a : b WITH UNIQUE KEYS), JSON_ARRAYAGG(a ORDER BY b) FILTER (WHERE c) OVER () FROM t
SELECT JSON_VALUE(a, '$.b' PASSING 1 AS x RETURNING int DEFAULT 1 ON EMPTY ERROR ON ERROR) FROM t
SELECT JSON_QUERY(a, '$' WITH WRAPPER KEEP QUOTES), JSON_EXISTS(a, '$'), JSON('{}'), JSON_SCALAR(1),
    JSON_SERIALIZE('{}' RETURNING text) FROM t
SELECT a IS JSON, a IS NOT JSON OBJECT WITH UNIQUE KEYS, JSON(a FORMAT JSON ENCODING UTF8) FROM t
SELECT 1 FROM JSON_TABLE('[]', '$[*]' AS p COLUMNS (n FOR ORDINALITY, a int PATH '$.a' NULL ON EMPTY, e
    int EXISTS, NESTED '$.b' COLUMNS (c text))) AS j
SELECT to_tsvector('english', a) @@ websearch_to_tsquery('english'::regconfig, $1) FROM t
SELECT ts_rank(a, to_tsquery('x')), ts_headline('a', plainto_tsquery('b')) FROM t
SELECT int4range(1, 2) @> 1, '[1,2)'::daterange && b, upper(c) FROM t
SELECT point(1, 2) <-> point(3, 4), box '((0,0),(1,1))' @> a, inet '10.0.0.1' << '10.0.0.0/8' FROM t
SELECT a OPERATOR(pg_catalog.+) 1, b OPERATOR(app.=) c, @ -a, |/ 2.0, a ^ 2, ~ b FROM t
SELECT 'O''Reilly', E'\\n', $$x; y$$, $q$ '' $q$, U&'\\00e4', B'101', X'1F', 1_000, 0x1F, 1e3, true, NULL
SELECT "a b"."c d", "ä"."ö", t.ß FROM t
SELECT $1, $65535::int, $2::app.mood, $3::public.mood[]
SELECT a FROM t FOR UPDATE OF t SKIP LOCKED
SELECT a FROM t FOR NO KEY UPDATE NOWAIT
SELECT a FROM t FOR SHARE FOR KEY SHARE
SELECT oid, xml, version FROM t
WITH x AS MATERIALIZED (SELECT 1 AS a), y(b) AS NOT MATERIALIZED (SELECT a FROM x) SELECT * FROM x, y
WITH RECURSIVE x(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM x WHERE a < 5) SELECT a FROM x
WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) SEARCH DEPTH FIRST BY a SET o SELECT * FROM x
WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) CYCLE a SET c TO 'y' DEFAULT 'n' USING p SELECT *
    FROM x
WITH x AS (DELETE FROM t WHERE a = 1 RETURNING *) INSERT INTO u SELECT * FROM x
WITH x AS (UPDATE t SET a = 1 RETURNING a), y AS (INSERT INTO u VALUES (1) RETURNING b) SELECT * FROM x, y
INSERT INTO t VALUES (1, DEFAULT, $1)
INSERT INTO t DEFAULT VALUES RETURNING id
INSERT INTO app.t AS x (a, b[1], c.d) OVERRIDING SYSTEM VALUE SELECT 1, 2, 3
INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING
INSERT INTO t (a) VALUES (1) ON CONFLICT (a, lower(b) COLLATE "C") WHERE c DO UPDATE SET a = excluded.a,
    (b, c) = (1, DEFAULT) WHERE t.a > 1 RETURNING *, a AS b
INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET a = excluded.a
UPDATE t SET a = a + 1, b = DEFAULT, c[1] = 2, d.e = 3 FROM u WHERE t.a = u.a RETURNING t.*
UPDATE ONLY app.t AS x SET (a, b) = (SELECT 1, 2), (c, d) = ROW(3, 4), (e) = (5)
UPDATE t SET a = 1 RETURNING old.a, new.a, WITHIN.b
UPDATE t SET a = 1 RETURNING WITH (OLD AS o, NEW AS n) o.a, n.*
DELETE FROM t USING u, v WHERE t.a = u.a RETURNING *
MERGE INTO t USING u ON t.a = u.a WHEN MATCHED AND u.b THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT
    (a) VALUES (u.a) WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action(), t.*
MERGE INTO t USING (VALUES (1)) AS s(a) ON true WHEN MATCHED THEN DO NOTHING
"""

FORBIDDEN = """
lower("pg_catalog".lower(current_query()))|the function "current_query"
a.lower(1)|the schema "a"
app.lower(1)|the function "lower"
total(1)|the function "total"
app.total(1)|the function "total"
"LOWER"(a)|the function "LOWER"
current_setting('x')|the function "current_setting"
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


def lines(table: str) -> list[str]:
    """A line that is indented goes on where the one before it ended."""
    return table.strip("\n").replace("\n    ", " ").split("\n")


def verdict(text: str, tier: Tier = STANDARD) -> StatementNotPassed | None:
    try:
        GUARD.judge(text, tier)
    except StatementNotPassed as exc:
        return exc
    return None


@pytest.mark.parametrize("text", lines(PASS))
def test_what_applications_say_passes(text: str) -> None:
    assert verdict(text) is None


@pytest.mark.parametrize("text", POSITIONS)
def test_each_place_of_an_expression_takes_a_harmless_one(text: str) -> None:
    assert verdict(text.replace("{}", "a")) is None


@pytest.mark.parametrize("row", lines(FORBIDDEN))
def test_what_is_not_listed_is_forbidden_by_its_name(row: str) -> None:
    expression, _, what = row.rpartition("|")

    found = verdict(f"SELECT {expression}")

    assert isinstance(found, StatementForbidden)
    assert str(found) == f"statements must not use {what}"


@pytest.mark.parametrize("row", lines(REFUSED))
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

    assert not GUARD.judge_now(long, STANDARD)
    assert GUARD.judge_now("SELECT 1", STANDARD)
    assert verdict(long) is None
    assert isinstance(verdict(long.replace("lower", "pg_sleep")), StatementForbidden)
    with pytest.raises(StatementForbidden):
        GUARD.judge_now("SELECT current_query()", STANDARD)


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
