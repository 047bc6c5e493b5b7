"""However a utility statement is dressed, the server's own grammar refuses it behind the fence.

Asked of a superuser's connection, so that no missing right does the fence's work.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import product

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.pq.abc import PGconn

from pools.errors import StatementFailed, StatementRefused
from pools.statement import fence
from pools.switchboard import Switchboard
from registry.placement import Placement
from tests.support.places import Places, open_places, open_pools, run
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

UTILITIES = """
SET search_path = x | SET LOCAL tiergate.context = 'x' | SET SESSION AUTHORIZATION postgres
SET ROLE postgres | RESET ALL | RESET ROLE | SHOW ALL | DISCARD ALL | BEGIN | START TRANSACTION | COMMIT
END | ROLLBACK | ABORT | SAVEPOINT a | RELEASE a | ROLLBACK TO a | COMMIT PREPARED 'a'
PREPARE TRANSACTION 'a' | SET TRANSACTION READ WRITE | SET CONSTRAINTS ALL DEFERRED | PREPARE a AS SELECT 1
EXECUTE a | DEALLOCATE a | DEALLOCATE ALL | DECLARE a CURSOR WITH HOLD FOR SELECT 1 | FETCH a | MOVE a
CLOSE ALL | LISTEN a | UNLISTEN * | NOTIFY a, 'b' | LOCK TABLE pg_class | DO $$BEGIN END$$ | DO 'BEGIN END'
CALL a() | COPY pg_class TO STDOUT | COPY (SELECT 1) TO STDOUT | COPY pg_class FROM PROGRAM 'id' | LOAD 'a'
VACUUM | ANALYZE | CHECKPOINT | CLUSTER | REINDEX SYSTEM | TRUNCATE a | CREATE TABLE a ()
CREATE TEMP TABLE a AS SELECT 1 | CREATE TABLE a AS EXECUTE b | CREATE ROLE a | DROP TABLE a
CREATE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT 1' | ALTER ROLE postgres SUPERUSER
ALTER SYSTEM SET a = 1 | ALTER DATABASE a SET b = 1 | GRANT a TO b | REVOKE a FROM b
COMMENT ON TABLE a IS 'b' | SECURITY LABEL ON TABLE a IS 'b' | REASSIGN OWNED BY a TO b | DROP OWNED BY a
IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c | CREATE PUBLICATION a | EXPLAIN SELECT 1
EXPLAIN (ANALYZE) DELETE FROM pg_class | CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c
REFRESH MATERIALIZED VIEW a
"""
DRESSES = [
    "{}", "{};", "({})", "(({}))", ";{}", "SELECT 1; {}", "SELECT 1;\n--\n{}", "(SELECT 1); {}",
    "{}; SELECT 1",
    "WITH a AS (SELECT 1) {}", "WITH RECURSIVE a AS (SELECT 1) {}", "WITH a AS ({}) SELECT 1", "WITH {}",
    "WITH RECURSIVE {}",
    "WITH a AS (SELECT 1), {}", "SELECT 1 UNION ({})", "(SELECT 1) UNION {}", "(SELECT 1) {}", "() {}",
    "VALUES (1) {}",
    "TABLE pg_class; {}", "WITH recursive AS (SELECT 1) {}", "WITH recursive (a) AS (SELECT 1) {}",
]  # fmt: skip
BLANKS = [
    "",
    " ",
    "\n",
    "-- x\n",
    "--\r",
    "/* x */",
    "/* /* */ */",
    "/*/**/*/",
    "\t\f\v",
    "/*'*/",
    '/*"*/',
    "--'\n",
    "/*$$*/",
]


def all_utilities() -> list[str]:
    return [one.strip() for line in UTILITIES.strip().splitlines() for one in line.split("|")]


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(places: Places) -> Iterator[PGconn]:
    with opened(places.admin(places.shared)) as conn:
        yield conn


@contextmanager
def opened(conninfo: str) -> Iterator[PGconn]:
    conn = pq.PGconn.connect(conninfo.encode())
    assert conn.status == pq.ConnStatus.OK
    yield conn
    conn.finish()


def verdict(server: PGconn, text: str) -> bytes | None:
    """What the server's grammar says to the fenced text; None when it accepts it."""
    try:
        fenced = fence(text)
    except StatementRefused:
        return b"refused"
    result = server.prepare(b"", fenced.sql)
    return (
        result.error_field(pq.DiagnosticField.SQLSTATE)
        if result.status == pq.ExecStatus.FATAL_ERROR
        else None
    )


@pytest.mark.parametrize("utility", all_utilities())
def test_no_dress_gets_a_utility_statement_through(server: PGconn, utility: str) -> None:
    for dress, blank in product(DRESSES, BLANKS):
        text = blank + dress.format(blank + utility)

        assert verdict(server, text) in {b"refused", b"42601"}, text


@given(
    st.lists(st.sampled_from(BLANKS), max_size=4).map("".join),
    st.sampled_from(DRESSES),
    st.sampled_from(DRESSES),
    st.sampled_from(all_utilities()),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nor_do_two_dresses_at_once(server: PGconn, blank: str, outer: str, inner: str, utility: str) -> None:
    text = blank + outer.format(blank + inner.format(utility))

    assert verdict(server, text) in {b"refused", b"42601"}


PIECES = st.sampled_from(
    ["SELECT", "WITH", "RECURSIVE", "recursive", " AS ", "(", ")", "SELECT 1", "a", "1", ";", "'", '"',
     "$$", "--",
     "/*", "*/", "\n", "\r", " ", "\v", "é", ",", "VALUES", "VALUES (1)", "a AS (SELECT 1)", "TABLE a",
     "(SELECT 1)"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=10).map("".join))
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_server_accepts_behind_the_fence_it_accepts_without_it(server: PGconn, text: str) -> None:
    """And the other way round: the fence changes no statement's meaning.

    A vertical tab is a blank since PostgreSQL 16 only.
    """
    try:
        fenced = fence(text)
    except StatementRefused:
        return
    said = [
        server.prepare(b"", sql).error_field(pq.DiagnosticField.SQLSTATE)
        for sql in (fenced.sql, text.encode())
    ]

    assert said[0] == said[1] or "\v" in text


@pytest.mark.parametrize(
    "text",
    [
        "WITH recursive AS (SELECT 7) SELECT * FROM recursive",
        "WITH recursive (a) AS (SELECT 7) SELECT a FROM recursive",
        "WITH recursiveé AS (SELECT 7) SELECT * FROM recursiveé",
        "WITH /**/ RECURSIVE recursive AS (SELECT 7) SELECT * FROM recursive",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 7) SELECT max(i) FROM n",
        "((SELECT 7))", "(SELECT 6) UNION (SELECT 7) ORDER BY 1 DESC LIMIT 1", "VALUES (7)", "SELECT 7;",
        "--\n/* /* */ */SELECT 7 -- x",
        "WITH tiergate AS (SELECT 7) TABLE tiergate",
    ],
)  # fmt: skip
async def test_every_form_of_query_runs_behind_the_fence(places: Places, text: str) -> None:
    placement = await places.create(Tier.STANDARD)
    async with open_pools() as switchboard:
        for _ in range(3):  # unnamed, prepared, by its name
            [result] = await run(switchboard, placement, text)

            assert result.rows == [("7",)]


@pytest.mark.parametrize(
    "text", ["SELECT 1 INTO made", "SELECT 1 INTO TEMP made", "WITH a AS (SELECT 1) SELECT 1 INTO made"]
)
@pytest.mark.parametrize("tier", Tier)
async def test_select_into_is_a_query_and_fails_for_want_of_rights(
    places: Places, tier: Tier, text: str
) -> None:
    placement = await places.create(tier)
    async with open_pools() as switchboard:
        with pytest.raises(StatementFailed) as failed:
            await run(switchboard, placement, text)

    assert failed.value.error.code == "42501"


@pytest.fixture(scope="module")
async def pools(places: Places) -> AsyncIterator[Switchboard]:
    async with open_pools() as switchboard:
        yield switchboard


@pytest.fixture(scope="module")
async def placement(places: Places) -> Placement:
    return await places.create(Tier.STANDARD)


@pytest.mark.parametrize(
    "text",
    ["SELECT 1 +", "SELECT 'é' || nope", "  -- é\n SELECT nope", "WITH a AS (SELECT nope) TABLE a",
     "(SELECT nope)",
     "WITH RECURSIVE a AS (SELECT nope) TABLE a", "SELECT '\N{SLICE OF PIZZA}', nope",
     "INSERT INTO nope VALUES (1)",
     "nope", "SELECT nope('x')"],
)  # fmt: skip
async def test_an_error_is_told_at_its_place_in_the_callers_text(
    places: Places, pools: Switchboard, placement: Placement, text: str
) -> None:
    with psycopg.connect(places.admin(places.shared), autocommit=True) as plain:
        plain.execute("SET search_path = app")
        with pytest.raises(psycopg.Error) as expected:
            plain.execute(text.encode(), prepare=True)
    for _ in range(3):
        told = await asyncio.gather(run(pools, placement, text), return_exceptions=True)
        match told:
            case [StatementFailed(error=error)]:
                assert (error.position, error.code) == (
                    expected.value.diag.statement_position,
                    expected.value.sqlstate,
                )
            case _:
                assert text == "nope"
                assert isinstance(told[0], StatementRefused)


@pytest.mark.parametrize("spelt", ["public", '"public"', 'U&"public"', """U&"!0070ublic" UESCAPE '!' """])
async def test_however_a_schema_is_spelt_the_tenants_own_is_meant(places: Places, spelt: str) -> None:
    """With U& the name was sent as it came, and meant the database's own schema of that name."""
    placement = await places.create(Tier.PREMIUM)
    table = f"elsewhere_{placement.place.schema}"
    with psycopg.connect(places.admin(placement.place), autocommit=True) as admin:
        admin.execute(f"CREATE TABLE public.{table} (); GRANT SELECT ON public.{table} TO PUBLIC".encode())
        async with open_pools() as switchboard:
            with pytest.raises(StatementFailed) as failed:
                await run(switchboard, placement, f"TABLE {spelt}.{table}")
            await run(switchboard, placement, f"TABLE {spelt}.notes")

    assert failed.value.error.code == "42P01"
