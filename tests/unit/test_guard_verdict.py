"""What may run, and what may not, wherever in a statement it stands."""

import pytest

from guard.catalog import Additions, Catalog, catalog
from guard.errors import StatementForbidden, StatementTooComplex, StatementUnreadable
from guard.reading import ReadingLimits
from guard.verdict import Guard, Verdict, judge
from tests.support.hostile import PAYLOADS, POSITIONS, STATEMENTS
from tiergate.tenant import Tier

STANDARD = catalog(Tier.STANDARD, ["public", "app"])
PREMIUM = catalog(Tier.PREMIUM, ["public", "app"])

ORDINARY = (
    "SELECT 1",
    "TABLE t",
    "VALUES (1, 'a'), (2, 'b')",
    "select * from app.notes as n where n.id = $1 order by n.at desc limit 10 offset 5",
    'SELECT "n"."id", "n"."body" FROM "public"."notes" AS "n" WHERE ("n"."id" = $1 AND 1=1)',
    "SELECT public.notes.id FROM public.notes",
    "SELECT n.* FROM notes n LEFT JOIN LATERAL (SELECT count(*) FROM tags WHERE note = n.id) c ON true",
    "INSERT INTO notes (id, body) VALUES (DEFAULT, $1), ($2, $3) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
    " WHERE notes.body IS DISTINCT FROM excluded.body RETURNING id, xmax_seen",
    "UPDATE notes AS n SET body = $1, (a, b) = (1, 2), tags[1] = 'x' FROM other WHERE n.id = other.id RETURNING n.*",
    "DELETE FROM ONLY notes USING tags WHERE notes.id = tags.note AND tags.name ILIKE '%x%'",
    "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v"
    " WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v) RETURNING merge_action(), t.*",
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 9) SEARCH DEPTH FIRST BY n SET o"
    " SELECT * FROM x",
    "WITH gone AS MATERIALIZED (DELETE FROM t RETURNING *) INSERT INTO old SELECT * FROM gone",
    "SELECT a, sum(b) OVER (PARTITION BY a ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "SELECT grouping(a), count(*) FILTER (WHERE b > 0) FROM t GROUP BY ROLLUP (a, b) HAVING count(*) > 1",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t",
    "SELECT doc->'a'->>'b', doc #>> '{a,b}', doc @> '{}'::jsonb, doc ? 'k', jsonb_set(doc, '{a}', '1') FROM t",
    "SELECT * FROM jsonb_to_recordset($1) AS r(id int, name text) WHERE id = ANY ($2::int[])",
    "SELECT * FROM json_table($1::jsonb, '$[*]' COLUMNS (id int PATH '$.id', NESTED '$.x[*]' COLUMNS (y text)))",
    "SELECT json_object('a' : 1 ABSENT ON NULL), json_value(doc, '$.a' RETURNING int DEFAULT 0 ON EMPTY) FROM t",
    "SELECT to_tsvector('english'::regconfig, body) @@ websearch_to_tsquery('english', $1), ts_rank(v, q) FROM t, q",
    "SELECT now() - interval '1 day', current_date, localtimestamp(3), a AT TIME ZONE 'UTC', extract(epoch FROM a) FROM t",
    "SELECT CAST($1 AS numeric(10, 2)), $2::varchar(20), $3::timestamptz, '[1,2]'::int4range, $4::\"public\".\"Mood\"",
    "SELECT a COLLATE \"de-x-icu\", b COLLATE \"en_US\", c COLLATE pg_catalog.\"C\" FROM t ORDER BY a USING <",
    "SELECT a OPERATOR(pg_catalog.+) b, -a, a BETWEEN SYMMETRIC 1 AND 2, a SIMILAR TO 'x', a IS NOT DISTINCT FROM b FROM t",
    "SELECT id FROM jobs WHERE NOT done ORDER BY id FOR NO KEY UPDATE SKIP LOCKED LIMIT 1",
    "SELECT gen_random_uuid(), date('2030-01-01'), int4('7'), random(), trim(both ' ' from $1), overlay('a' placing 'b' from 1)",
    "SELECT d.version, u.name, u.date, e.length, p.position, t.trigger, t.tid, o.count FROM d, u, e, p, t, o",
    "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1;",
    "/* a comment; */ SELECT ';' -- ; \n ;",
)  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_the_sql_of_ordinary_applications_passes(text: str) -> None:
    assert judge(text, STANDARD)


@pytest.mark.parametrize("position", POSITIONS)
def test_nothing_dangerous_passes_wherever_an_expression_may_stand(position: str) -> None:
    judge(position.replace("{}", "1"), STANDARD)

    for payload in PAYLOADS:
        with pytest.raises(StatementForbidden):
            judge(position.replace("{}", payload), STANDARD)


@pytest.mark.parametrize("text", STATEMENTS)
def test_no_other_statement_passes(text: str) -> None:
    with pytest.raises((StatementForbidden, StatementUnreadable)):
        judge(text, STANDARD)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_operators_additions_open_nothing_else(payload: str) -> None:
    wider = catalog(Tier.STANDARD, ["public", "app"], Additions(("my_sum",), ("mood",), ("<=>",)))

    with pytest.raises(StatementForbidden):
        judge(f"SELECT my_sum({payload}), a <=> b, 'x'::mood FROM t", wider)


@pytest.mark.parametrize(
    ("text", "kind", "name", "position"),
    [
        ("SELECT pg_sleep(1)", "function", "pg_sleep", 8),
        ("SELECT 'é', pg_catalog.Pg_Sleep(1)", "function", "pg_catalog.pg_sleep", 13),
        ("SELECT s.pg_advisory_lock FROM s", "attribute", "pg_advisory_lock", 8),
        ("SELECT a, ('x'::text).regclass", "attribute", "regclass", 15),
        ("SELECT a FROM app.t, tiergate.fence", "relation", "tiergate.fence", 22),
        ("SELECT 'x'::regclass", "type", "regclass", 13),
        ("SELECT a @#@ b", "operator", "@#@", 10),
        ("SELECT a COLLATE x.y", "collation", "x.y", 10),
        ("SELECT 1, current_user", "keyword", "CURRENT_USER", 11),
        ("SELECT a.ctid FROM a", "column", "ctid", 8),
        ("SELECT 1; SELECT 2", "clause", "a second statement", 11),
        ("/* */ set role x", "statement", "SET", 7),
        ("SELECT 1 INTO x", "clause", "SELECT INTO", None),
    ],
)
def test_a_refusal_names_what_it_refuses_and_where(text: str, kind: str, name: str, position: int | None) -> None:
    with pytest.raises(StatementForbidden) as refusal:
        judge(text, STANDARD)

    assert (refusal.value.kind, refusal.value.name, refusal.value.position) == (kind, name, position)
    assert name in str(refusal.value)


def test_a_text_outside_the_grammar_is_refused_in_postgress_own_words() -> None:
    with pytest.raises(StatementUnreadable, match='^syntax error at or near "FORM"$') as refusal:
        judge("SELECT 'é', * FORM t", STANDARD)

    assert refusal.value.position == 15


@pytest.mark.parametrize("text", ["SELECT 1\0; DROP TABLE t", "SELECT '\ud800'", "SELECT '", "SELECT E'\\xff'"])
def test_a_text_that_c_would_read_differently_is_refused(text: str) -> None:
    with pytest.raises(StatementUnreadable):
        judge(text, STANDARD)


def test_explain_passes_where_the_catalog_says_so_and_never_runs_anything() -> None:
    assert judge("EXPLAIN (VERBOSE, FORMAT JSON) DELETE FROM t", PREMIUM) == Verdict("explain", writes=True)
    for text in ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN (BUFFERS) SELECT 1", "EXPLAIN CREATE TABLE x AS SELECT 1"):
        with pytest.raises(StatementForbidden):
            judge(text, PREMIUM)
    with pytest.raises(StatementForbidden):
        judge("EXPLAIN SELECT 1", STANDARD)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("SELECT 1 FOR UPDATE", Verdict("select", writes=False)),
        ("VALUES (1)", Verdict("select", writes=False)),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1 FROM x", Verdict("select", writes=True)),
        ("INSERT INTO t DEFAULT VALUES", Verdict("insert", writes=True)),
    ],
)
def test_a_verdict_says_what_the_statement_does(text: str, verdict: Verdict) -> None:
    assert judge(text, STANDARD) == verdict


def test_what_an_operator_adds_may_be_named_and_qualified_with_the_applications_schema() -> None:
    wider = catalog(Tier.STANDARD, ["public", "app"], Additions(("similarity",), ("vector",), ("<=>",)))

    for text in (
        "SELECT similarity(a, b), public.similarity(a, b) FROM t",
        "SELECT a <=> $1::vector, a OPERATOR(app.<=>) b, '{}'::vector[] FROM t",
    ):
        assert judge(text, wider)
        with pytest.raises(StatementForbidden):
            judge(text, STANDARD)


def test_a_text_judged_once_is_remembered_and_a_refusal_is_not() -> None:
    guard = Guard(STANDARD, ReadingLimits())

    assert guard.judge("SELECT 1") is guard.judge("SELECT 1")
    for _ in range(2):
        with pytest.raises(StatementForbidden):
            guard.judge("SELECT pg_sleep(1)")


def test_a_guard_remembers_no_more_than_it_may() -> None:
    guard = Guard(STANDARD, ReadingLimits(), remembered=1)
    first = guard.judge("SELECT 1")
    guard.judge("SELECT 2")

    assert guard.judge("SELECT 1") is not first


def test_a_text_longer_than_allowed_is_refused_by_its_bytes() -> None:
    limits = ReadingLimits(max_text_bytes=20)

    assert judge("SELECT 'ééé'", STANDARD, limits)
    with pytest.raises(StatementTooComplex):
        judge("SELECT 'éééééééé'", STANDARD, limits)


LARGE: dict[str, str] = {
    "300 conditions": "SELECT * FROM t WHERE " + " AND ".join(f"c{n} = ${n}" for n in range(1, 301)),
    "1,000 conditions": "SELECT * FROM t WHERE " + " OR ".join(f"c = ${n}" for n in range(1, 998)),
    "2,000 rows": "INSERT INTO t (a, b) VALUES " + ", ".join(f"(${2 * n + 1}, ${2 * n + 2})" for n in range(2000)),
    "a list of 1,000": "SELECT * FROM t WHERE a IN (" + ", ".join(f"${n}" for n in range(1, 1001)) + ")",
    "an array of 5,000": "SELECT * FROM t WHERE a = ANY (ARRAY[" + ", ".join(map(str, range(5000))) + "])",
    "400 operators": "SELECT " + " || ".join(["a"] * 400) + " FROM t",
    "200 calls": "SELECT " + "abs(" * 200 + "a" + ")" * 200 + " FROM t",
    "100 queries": "SELECT * FROM " + "(SELECT * FROM " * 100 + "t" + ") AS s" * 100,
    "200 tables": "SELECT 1 FROM t0 " + " ".join(f"LEFT JOIN t{n} ON t{n}.a = t0.a" for n in range(1, 200)),
    "300 queries in a row": " UNION ALL ".join(["SELECT a, b FROM t"] * 300),
    "300 columns": f"UPDATE t SET ({', '.join(f'c{n}' for n in range(300))}) = ({', '.join(['1'] * 300)})",
    "100 pairs": "SELECT 1 FROM t WHERE " + " OR ".join(["(a, b) = ($1, $2)"] * 100),
    "a banner": "/" + "*" * 200 + "\n-- " + "=" * 200 + "\n" + "-" * 500 + "\n*/ SELECT '+----+----+' AS " + '"' + "-" * 60 + '"',
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_large_statements_of_honest_applications_pass(name: str) -> None:
    assert judge(LARGE[name], STANDARD)


def test_catalogs_differ_by_tier_only_where_the_data_say_so() -> None:
    def rest(one: Catalog) -> tuple[object, ...]:
        return one.functions, one.types, one.operators, one.schemas, one.denied_attributes

    assert rest(PREMIUM) == rest(STANDARD)
