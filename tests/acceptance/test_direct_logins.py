"""Straight to Postgres, past the gateway: what the login role of one tenant can see of another's."""

import secrets
from collections.abc import Awaitable, Callable

import asyncpg
import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.acceptance.reach import RunningGateway, tenant_of
from tests.support.postgres import url_of
from tiergate.tenant import Tier

AT_THE_DOOR = {"42501": "permission denied for database", "28P01": "password authentication failed"}
DENIED = "42501"
NO_CONTEXT = "TG002"

Ask = Callable[[str, str], Awaitable[str]]
"""Takes a conninfo and a statement; the SQLSTATE of what goes wrong, or "" when nothing does."""


async def ask_psycopg(conninfo: str, statement: str) -> str:
    try:
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            await connection.execute(statement.encode())
    except psycopg.OperationalError as exc:  # refused at the door: libpq tells no SQLSTATE there
        return exc.sqlstate or next(
            (state for state, text in AT_THE_DOOR.items() if text in str(exc)), f"unknown: {exc}"
        )
    except psycopg.Error as exc:
        return exc.sqlstate or f"unknown: {exc}"
    return ""


async def ask_asyncpg(conninfo: str, statement: str) -> str:
    try:
        connection = await asyncpg.connect(url_of(conninfo))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
    except asyncpg.PostgresError as exc:
        return str(exc.sqlstate)
    return ""


@pytest.fixture(params=list(Tier))
def tier(request: pytest.FixtureRequest) -> Tier:
    return Tier(request.param)


@pytest.fixture(params=[ask_psycopg, ask_asyncpg], ids=["psycopg", "asyncpg"])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


@pytest.fixture(scope="module")
async def neighbours(gateway: RunningGateway) -> dict[Tier, tuple[str, str]]:
    """Two tenants of each tier that has logins of its own: the conninfo of each."""
    pairs = {}
    headers = {"Authorization": f"Bearer {gateway.admin_key}"}
    async with httpx.AsyncClient(base_url=gateway.admin, headers=headers, timeout=30) as admin:
        for tier in (Tier.PREMIUM, Tier.GOVERNMENT):
            other = f"neighbour-{tier}-{secrets.token_hex(4)}"
            made = await admin.post("/tenants", json={"name": other, "tier": tier.value})
            assert made.is_success, made.text
            pairs[tier] = (await gateway.direct(tenant_of(gateway, tier)[0]), await gateway.direct(other))
    return pairs


async def own_place(conninfo: str) -> tuple[str, str, str]:
    """The login's name, its database and the schema that its tables are in."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        cursor = await connection.execute("SELECT session_user, current_database(), current_schema()")
        row = await cursor.fetchone()
    assert row is not None
    login, database, schema = row
    return login, database, schema


def sandboxed(tier: Tier, statement: str) -> str:
    """The statement as requests run it: on standard the login has no rights but through the sandbox role."""
    return f"SET ROLE tiergate_app; {statement}" if tier is Tier.STANDARD else statement


async def test_a_login_without_a_signed_context_reads_no_row(
    gateway: RunningGateway, tier: Tier, ask: Ask
) -> None:
    conninfo = await gateway.direct(tenant_of(gateway, tier)[0])

    assert await ask(conninfo, sandboxed(tier, "SELECT * FROM members")) == NO_CONTEXT


async def test_a_login_cannot_make_up_a_context(gateway: RunningGateway, tier: Tier, ask: Ask) -> None:
    name, _ = tenant_of(gateway, tier)
    conninfo = await gateway.direct(name)
    forged = f"SET tiergate.context = '0000000001{'0' * 64}{name}'"

    assert await ask(conninfo, sandboxed(tier, f"{forged}; SELECT * FROM members")) == NO_CONTEXT


async def test_a_login_cannot_read_the_keys_or_the_fence(
    gateway: RunningGateway, tier: Tier, ask: Ask
) -> None:
    conninfo = await gateway.direct(tenant_of(gateway, tier)[0])

    assert await ask(conninfo, "SELECT * FROM tiergate.context_key") == DENIED
    assert await ask(conninfo, "SELECT * FROM tiergate.fence") == DENIED


async def test_a_premium_login_cannot_read_another_tenants_schema(
    neighbours: dict[Tier, tuple[str, str]], ask: Ask
) -> None:
    mine, other = neighbours[Tier.PREMIUM]
    _, database, schema = await own_place(other)

    assert (await own_place(mine))[1] == database
    assert await ask(mine, f"SELECT * FROM {schema}.members") == DENIED


async def test_a_government_login_cannot_enter_another_tenants_database(
    neighbours: dict[Tier, tuple[str, str]], ask: Ask
) -> None:
    mine, other = neighbours[Tier.GOVERNMENT]
    _, database, _ = await own_place(other)
    trespassing = make_conninfo(mine, dbname=database)

    assert await ask(trespassing, "SELECT 1") == DENIED


@pytest.mark.parametrize("lonely", [Tier.PREMIUM, Tier.GOVERNMENT])
async def test_a_login_cannot_become_another(
    neighbours: dict[Tier, tuple[str, str]], lonely: Tier, ask: Ask
) -> None:
    mine, other = neighbours[lonely]
    login, _, _ = await own_place(other)

    assert await ask(mine, f"SET ROLE {login}") == DENIED


async def test_a_login_of_one_tier_is_none_of_another(gateway: RunningGateway, ask: Ask) -> None:
    premium = conninfo_to_dict(await gateway.direct(tenant_of(gateway, Tier.PREMIUM)[0]))
    elsewhere = await gateway.direct(tenant_of(gateway, Tier.GOVERNMENT)[0])
    trespassing = make_conninfo(elsewhere, user=str(premium["user"]), password=str(premium["password"]))

    assert await ask(trespassing, "SELECT 1") == "28P01"
