"""What real programs send passes the guard; what does not is known, and refused on purpose."""
# ruff: noqa: E501 - a table of SQL

from pathlib import Path

import pytest

from bench.corpora import ordinary, recorded
from bench.refusals import judge
from bench.regress import read_regress
from bench.statements import sqlalchemy_statements
from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementForbidden
from guard.verdict import Guard
from tiergate.tenant import Tier

# psql's own commands, data of a COPY, quotes of all kinds, statements of other kinds, and one text twice.
REGRESS = r"""
-- a comment; with a semicolon
SELECT 'a;b', E'it\'s;', $$c;d$$, $q$;$$;$q$ /* ; */ FROM t;
CREATE FUNCTION f_own(a int) RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
CREATE TYPE floatrange AS RANGE (subtype = float8);
COPY t FROM stdin;
SELECT 1 is data;
\.
select f_own(1)
\gset
SELECT :'variable';
  (SELECT 2) UNION SELECT a::int FROM t WHERE a[1:2] = '{}';
select f_own(1);
\echo SELECT 3;
VALUES (1);
"""
WITH_DISTANCES = "SELECT id FROM items ORDER BY embedding <=> $1::vector LIMIT 5"


def guard(*, explain: bool = False, **names: set[str]) -> Guard:
    added = Additions(**{part: frozenset(each) for part, each in names.items()})
    lists = catalog(added, schemas=frozenset({"public", "app"}), explain=explain)
    return Guard({Tier.PREMIUM: lists})


@pytest.mark.parametrize("name", ["drizzle", "prisma"])
def test_what_a_library_sent_passes(name: str) -> None:
    count = judge(name, recorded(name))

    assert count.statements == count.passed > 30


def test_what_sqlalchemy_writes_passes_but_for_what_is_known() -> None:
    count = judge("SQLAlchemy", sqlalchemy_statements())

    refused = {name for names in count.names.values() for name in names}
    assert refused == {"pg_typeof", "similarity", "xmax"}
    assert count.statements - count.passed == 5
    assert all(is_meant for _, is_meant in count.reasons)


def test_ordinary_sql_passes() -> None:
    count = judge("ordinary", [each.text for each in ordinary()])

    assert dict(count.names) == {}
    assert count.statements == count.passed > 100


@pytest.mark.parametrize(
    ("extension", "text"),
    [
        ("vector", WITH_DISTANCES),
        ("vector", "SELECT 1 - (embedding <=> $1), l2_distance(embedding, '[1,2]'::public.vector(2)) FROM items"),
        ("vector", "SELECT avg(embedding), embedding <-> '[1]', embedding <#> '[1]', embedding <+> '[1]' FROM items"),
        ("vector", "INSERT INTO items (embedding) VALUES ('[1,2]'), ($1::halfvec(2))"),
        ("pg_trgm", "SELECT title FROM tasks WHERE title % $1 AND $1 <% title ORDER BY similarity(title, $1) DESC"),
        ("citext", "SELECT id FROM members WHERE email = $1::citext"),
        ("hstore", "SELECT attributes -> 'a', attributes ? 'b', slice(attributes, ARRAY['a']), hstore('a', 'b')"),
        ("ltree", "SELECT path FROM nodes WHERE path <@ 'a.b' AND path ~ 'a.*'::lquery AND nlevel(path) > 2"),
        ("unaccent", "SELECT unaccent(title), public.unaccent('unaccent', title) FROM tasks"),
        ("uuid-ossp", "SELECT uuid_generate_v4()"),
        ("pgcrypto", "SELECT encode(digest('a', 'sha256'), 'hex'), crypt($1, gen_salt('bf'))"),
        ("fuzzystrmatch", "SELECT levenshtein(title, $1), soundex(title) FROM tasks"),
        ("intarray", "SELECT sort(ARRAY[2, 1]), icount(labels), labels @@ '1&2'::query_int FROM tasks"),
    ],
)  # fmt: skip
def test_sql_of_an_extension_passes_once_it_is_added(extension: str, text: str) -> None:
    guard(extensions={extension}).judge(text, Tier.PREMIUM)


@pytest.mark.parametrize("text", [WITH_DISTANCES, "SELECT uuid_generate_v4()", "SELECT unaccent('a')"])
def test_sql_of_an_extension_is_refused_until_it_is_added(text: str) -> None:
    with pytest.raises(StatementForbidden):
        guard().judge(text, Tier.PREMIUM)


def test_an_added_function_may_be_written_with_the_schema_of_the_application() -> None:
    guard(functions={"total"}).judge("SELECT public.total(1), app.total(2), total(3)", Tier.PREMIUM)


def test_a_plan_may_be_asked_of_any_statement_where_plans_are_allowed() -> None:
    planning = guard(explain=True)

    for each in ordinary():
        planning.judge(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {each.text}", Tier.PREMIUM)


def test_of_a_regression_test_the_plain_statements_are_read(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text(REGRESS)

    found = read_regress(tmp_path)

    assert [statement.split()[0] for statement in found.statements] == [
        "SELECT",
        "select",
        "(SELECT",
        "VALUES",
    ]
    assert found.statements[0].endswith("/* ; */ FROM t")
    assert {"f_own", "floatrange", "floatmultirange"} <= found.made


def test_a_folder_without_sql_is_an_error_that_says_which_is_meant(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="src/test/regress/sql"):
        read_regress(tmp_path)
