"""Which tables may come under the rule, and which would let tenants meet."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import psycopg
import pytest
from psycopg.rows import TupleRow

from tests.support.places import Places, login_of, open_admin, open_places
from tiergate.embedded import Cluster

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[Connection]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


GOOD = "tenant_id text NOT NULL, id int, PRIMARY KEY (tenant_id, id)"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id int PRIMARY KEY", 'has no column "tenant_id text NOT NULL"'),
        ("tenant_id text, id int", 'has no column "tenant_id text NOT NULL"'),
        (GOOD.replace("text", "uuid"), 'has no column "tenant_id text NOT NULL"'),
        (GOOD.replace("text", "varchar"), 'has no column "tenant_id text NOT NULL"'),
        ("tenant_id text NOT NULL, id int", "has no primary key"),
        ("tenant_id text NOT NULL, id int, UNIQUE (tenant_id, id)", "has no primary key"),
        ("tenant_id text NOT NULL, id int PRIMARY KEY", "does not begin with tenant_id"),
        ("tenant_id text NOT NULL, id int, PRIMARY KEY (id, tenant_id)", "does not begin with tenant_id"),
        (f"{GOOD}, email text UNIQUE", "does not begin with tenant_id"),
        (f"{GOOD}, EXCLUDE USING hash (id WITH =)", "does not begin with tenant_id"),
        (f"{GOOD}, other int REFERENCES public.elsewhere (id)", "leaves the tenant"),
        (f"{GOOD}, x text, FOREIGN KEY (x, id) REFERENCES public.rooms (tenant_id, id)", "leaves the tenant"),
        (f"{GOOD}, FOREIGN KEY (tenant_id, id) REFERENCES public.rooms (a, b)", "leaves the tenant"),
    ],
)  # fmt: skip
async def test_a_table_that_lets_tenants_meet_is_refused(
    admin: Connection, columns: str, message: str
) -> None:
    with pytest.raises(psycopg.Error) as error:  # noqa: PT012 - what leads to it must be taken back, too
        async with admin.transaction():
            await admin.execute(
                "CREATE TABLE public.elsewhere (id int PRIMARY KEY);"
                "CREATE TABLE public.rooms"
                " (tenant_id text, id int, a text, b int, PRIMARY KEY (tenant_id, id), UNIQUE (a, b))"
            )
            await admin.execute(f"CREATE TABLE public.bad ({columns})".encode())
            await admin.execute("SELECT tiergate.protect('public.bad')")

    assert error.value.sqlstate == "TG004"
    assert message in str(error.value)
    assert "public.bad" in str(error.value)
    assert error.value.diag.message_hint


async def test_a_tenant_column_that_takes_different_names_for_equal_is_refused(admin: Connection) -> None:
    """By its own collation the policy compares: "a-b" and "ab" would be one tenant."""
    try:
        await admin.execute(
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ka-shifted', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this Postgres is built without ICU, and so has no such collation")
    columns = "tenant_id text COLLATE public.loose NOT NULL, id int, PRIMARY KEY (tenant_id, id)"
    with pytest.raises(psycopg.Error, match="takes different names for equal"):  # noqa: PT012 - the same
        async with admin.transaction():
            await admin.execute(f"CREATE TABLE public.bad ({columns})".encode())
            await admin.execute("SELECT tiergate.protect('public.bad')")


async def test_a_unique_index_over_all_tenants_is_refused_whatever_it_is_made_of(admin: Connection) -> None:
    for index in ("(lower(email))", "(email) WHERE id > 0", "(email, tenant_id)", "((tenant_id || ''), id)"):
        with pytest.raises(psycopg.Error, match="does not begin with tenant_id"):  # noqa: PT012 - the same
            async with admin.transaction():
                await admin.execute(f"CREATE TABLE public.bad ({GOOD}, email text)".encode())
                await admin.execute(f"CREATE UNIQUE INDEX ON public.bad {index}".encode())
                await admin.execute("SELECT tiergate.protect('public.bad')")


async def test_protecting_a_table_again_changes_nothing(admin: Connection) -> None:
    described = (
        "SELECT relrowsecurity, relforcerowsecurity,"
        " (SELECT array_agg(row(polname, polpermissive, polcmd, polroles,"
        " pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))::text ORDER BY polname)"
        " FROM pg_policy WHERE polrelid = c.oid) FROM pg_class AS c WHERE oid = 'public.good'::regclass"
    )
    async with admin.transaction(force_rollback=True):
        await admin.execute(
            f'CREATE TABLE public.good ({GOOD}, parent int, "an ""x" text, UNIQUE (tenant_id, "an ""x"),'
            " FOREIGN KEY (tenant_id, parent) REFERENCES public.good (tenant_id, id))".encode()
        )
        seen = []
        for _ in range(3):
            await admin.execute("SELECT tiergate.protect('public.good')")
            seen.append(await (await admin.execute(described)).fetchone())

        assert seen[0] == seen[1] == seen[2]
        row = seen[0]
        assert row is not None
        assert row[:2] == (True, True)
        assert len(row[2]) == 2
        assert sum("tiergate.tenant()" in policy for policy in row[2]) == 1


async def test_only_the_owner_of_the_tables_may_protect_them(places: Places) -> None:
    async with open_admin(login_of(places.shared)) as gate:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await gate.execute("SELECT tiergate.protect('app.notes')")
