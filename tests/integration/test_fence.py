"""Who may enter a database as a tenant, what that is worth, and what is out of a tenant's reach."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from fleet.cluster import lay_data_plane
from pools.errors import StaleRoute, StatementFailed
from pools.lease import Isolation
from pools.statement import Statement
from pools.switchboard import Switchboard
from registry.placement import PlaceId, Placement
from tests.support.places import Places, login_of, open_admin, open_places, open_pools, run, value
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
LOCKS = 1413959000
WRITING = [Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE]


@dataclass(frozen=True, slots=True)
class Token:
    """What `tiergate.enter` is called with, and what the gateway signs of it."""

    placement: Placement
    pid: int
    expires: int

    def arguments(self, **changes: Any) -> tuple[Any, ...]:  # Any: arguments of every type, wrong ones too
        """In the function's order; *changes* are made after signing."""
        place = self.placement.place
        signed = f"enter|{place.context_kid}|{self.pid}|{self.expires}|{self.placement.epoch}|{place.id}"
        mac = hmac.new(place.context_key, f"{signed}|{self.placement.tenant}".encode(), hashlib.sha256)
        told = {
            "tenant": self.placement.tenant, "place": place.id, "epoch": self.placement.epoch,
            "kid": place.context_kid, "expires": self.expires, "mac": mac.hexdigest(), "timeout_ms": 10_000,
        }  # fmt: skip
        return tuple((told | changes).values())


def token(connection: Connection, placement: Placement, *, life_s: int = 60) -> Token:
    return Token(placement, connection.info.backend_pid, int(time.time()) + life_s)


async def enter(connection: Connection, arguments: tuple[Any, ...]) -> None:
    await connection.execute("SELECT tiergate.enter(%s, %s, %s, %s, %s, %s, %s)", arguments)


@asynccontextmanager
async def inside(placement: Placement, how: str = "") -> AsyncIterator[Connection]:
    """A connection in a transaction of the tenant's, as the pools make one; rolled back at the end."""
    async with await psycopg.AsyncConnection.connect(
        login_of(placement.place), autocommit=True
    ) as connection:
        await connection.execute(f"BEGIN {how}".encode())
        await enter(connection, token(connection, placement).arguments())
        if placement.tier is Tier.STANDARD:
            await connection.execute("SET LOCAL ROLE tiergate_app")
        yield connection


async def whose(connection: Connection) -> str:
    row = await (await connection.execute("SELECT tiergate.tenant()")).fetchone()
    return str(row[0]) if row else ""


async def refused(
    connection: Connection, statement: str, *params: Any
) -> psycopg.Error:  # Any: as the driver has it
    """The error that a statement meets; the transaction goes on."""
    with pytest.raises(psycopg.Error) as caught:
        async with connection.transaction():
            await connection.execute(statement.encode(), params or None)
    return caught.value


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture(scope="module")
async def pools(places: Places) -> AsyncIterator[Switchboard]:
    async with open_pools() as opened:
        yield opened


@pytest.fixture
async def acme(places: Places) -> Placement:
    return await places.create(Tier.STANDARD)


@pytest.fixture
async def gate(acme: Placement) -> AsyncIterator[Connection]:
    """A connection of the pools' login, in a transaction that is nobody's yet."""
    async with await psycopg.AsyncConnection.connect(login_of(acme.place), autocommit=True) as connection:
        await connection.execute("BEGIN")
        yield connection


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[Connection]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


# -- entering


async def test_with_the_right_signature_the_transaction_is_the_tenants(
    gate: Connection, acme: Placement
) -> None:
    await enter(gate, token(gate, acme).arguments())

    assert await whose(gate) == acme.tenant


@pytest.mark.parametrize(
    "forged",
    [
        {"mac": "0" * 64}, {"mac": ""}, {"mac": None}, {"mac": "x"}, {"tenant": "another"}, {"place": "pl_x"},
        {"epoch": 1},
        {"tenant": None}, {"place": None}, {"epoch": None}, {"expires": None}, {"expires": 1 << 40},
    ],
    ids=str,
)  # fmt: skip
async def test_what_is_not_as_it_was_signed_is_refused(
    gate: Connection, acme: Placement, forged: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.Error, match="not signed for this tenant and connection") as error:
        await enter(gate, token(gate, acme).arguments(**forged))

    assert error.value.sqlstate == "TG002"


async def test_facts_may_not_be_shifted_between_the_fields_of_a_signature(
    gate: Connection, acme: Placement
) -> None:
    """NULLs were left out of the signed text, so a tenant "5|pl_x|acme" of no place could be made of it."""
    signed = token(gate, acme)
    shifted = signed.arguments(tenant=f"{acme.epoch}|{acme.place.id}|{acme.tenant}", place=None, epoch=None)
    with pytest.raises(psycopg.Error) as error:
        await enter(gate, shifted)

    assert error.value.sqlstate == "TG002"


async def test_a_tenant_without_a_fence_is_refused_whatever_is_signed(
    gate: Connection, acme: Placement
) -> None:
    nobody = replace(acme, tenant=TenantId("nobody"))
    with pytest.raises(psycopg.Error, match="stale route") as error:
        await enter(gate, token(gate, nobody).arguments())

    assert (error.value.sqlstate, error.value.diag.message_hint) == ("TG001", "unknown")


async def test_a_signature_for_another_server_process_is_refused(gate: Connection, acme: Placement) -> None:
    signed = replace(token(gate, acme), pid=gate.info.backend_pid + 1)
    with pytest.raises(psycopg.Error, match="not signed"):
        await enter(gate, signed.arguments())


@pytest.mark.parametrize("life_s", [-2, 100, 86_400])
async def test_a_signature_has_its_time_and_never_much_of_it(
    gate: Connection, acme: Placement, life_s: int
) -> None:
    with pytest.raises(psycopg.Error, match="expired") as error:
        await enter(gate, token(gate, acme, life_s=life_s).arguments())

    assert (error.value.sqlstate, error.value.diag.message_hint) == ("TG002", "clock")


@pytest.mark.parametrize("kid", [2, 0, -1, None])
async def test_a_key_that_the_database_does_not_know_is_refused(
    gate: Connection, acme: Placement, kid: int | None
) -> None:
    with pytest.raises(psycopg.Error, match="does not know the gateway's key"):
        await enter(gate, token(gate, acme).arguments(kid=kid))


@pytest.mark.parametrize("change", ["place", "lower epoch", "higher epoch"])
async def test_another_place_or_epoch_is_a_stale_route(
    gate: Connection, acme: Placement, change: str
) -> None:
    other = {
        "place": replace(acme, place=replace(acme.place, id=PlaceId("pl_000000000000"))),
        "lower epoch": replace(acme, epoch=acme.epoch - 1),
        "higher epoch": replace(acme, epoch=acme.epoch + 1),
    }[change]
    with pytest.raises(psycopg.Error, match="stale route") as error:
        await enter(gate, token(gate, other).arguments())

    assert (error.value.sqlstate, error.value.diag.message_hint) == ("TG001", "active")


@pytest.mark.parametrize("state", ["suspended", "moved", "deleted", "read_only"])
async def test_a_fence_that_does_not_serve_says_so_and_where_to_go(
    gate: Connection, acme: Placement, admin: Connection, state: str
) -> None:
    await admin.execute(
        'UPDATE tiergate.fence SET state = %s, forward = \'{"place": "pl_new"}\' WHERE tenant_id = %s',
        (state, acme.tenant),
    )
    with pytest.raises(psycopg.Error, match="stale route") as error:
        await enter(gate, token(gate, acme).arguments())

    assert (error.value.sqlstate, error.value.diag.message_hint) == ("TG001", state)
    assert state == "read_only" or error.value.diag.message_detail == '{"place": "pl_new"}'


@pytest.mark.parametrize("isolation", WRITING)
async def test_a_read_only_fence_serves_who_only_reads(
    pools: Switchboard, acme: Placement, admin: Connection, isolation: Isolation
) -> None:
    await admin.execute("UPDATE tiergate.fence SET state = 'read_only' WHERE tenant_id = %s", (acme.tenant,))

    [result] = await run(pools, acme, "SELECT count(*) FROM notes", isolation=isolation, read_only=True)
    assert result.rows == [("0",)]
    with pytest.raises(StaleRoute) as stale:
        await run(pools, acme, "SELECT 1", isolation=isolation)
    assert stale.value.fence_state == "read_only"


# -- the context


async def test_without_entering_there_is_no_tenant(gate: Connection) -> None:
    assert (await refused(gate, "SELECT tiergate.tenant()")).sqlstate == "TG002"
    await gate.execute("SET LOCAL tiergate.context = ''")
    assert "no tenant" in str(await refused(gate, "SELECT tiergate.tenant()"))


async def test_the_context_ends_with_the_transaction(gate: Connection, acme: Placement) -> None:
    for end in ("COMMIT", "ROLLBACK"):
        await enter(gate, token(gate, acme).arguments())
        assert await whose(gate) == acme.tenant
        await gate.execute(end.encode())
        await gate.execute("BEGIN")

        assert "no tenant" in str(await refused(gate, "SELECT tiergate.tenant()"))


async def context_of(connection: Connection) -> str:
    row = await (await connection.execute("SELECT current_setting('tiergate.context')")).fetchone()
    return str(row[0]) if row else ""


async def put(connection: Connection, context: str) -> None:
    await connection.execute(sql.SQL("SET LOCAL tiergate.context = {}").format(sql.Literal(context)))


async def test_a_context_kept_for_the_next_transaction_is_worth_nothing(
    gate: Connection, acme: Placement
) -> None:
    await enter(gate, token(gate, acme).arguments())
    kept = await context_of(gate)
    await gate.execute("COMMIT")
    await gate.execute("BEGIN")
    await put(gate, kept)

    assert "forged" in str(await refused(gate, "SELECT tiergate.tenant()"))


async def test_a_context_of_another_server_process_is_worth_nothing(
    gate: Connection, acme: Placement
) -> None:
    async with inside(acme) as other:
        kept = await context_of(other)
        await put(gate, kept)

        assert "forged" in str(await refused(gate, "SELECT tiergate.tenant()"))


async def test_an_edited_context_is_worth_nothing(gate: Connection, acme: Placement) -> None:
    await enter(gate, token(gate, acme).arguments())
    right = await context_of(gate)
    assert right.endswith(acme.tenant)
    edits = [
        right[:74] + "umbrella", right + "x", right[:-1], right[:10] + "0" * 64 + right[74:],
        "0000000002" + right[10:],
        right.upper(), "x", "x" * 90, right[:74], " " + right,
    ]  # fmt: skip
    for edited in edits:
        await gate.execute("SAVEPOINT a")
        await put(gate, edited)
        error = await refused(gate, "SELECT tiergate.tenant()")
        assert error.sqlstate in {"TG002", "22P02"}, edited
        await gate.execute("ROLLBACK TO a")

    assert await whose(gate) == acme.tenant


async def test_a_database_has_one_seal_and_keeps_it(places: Places, admin: Connection) -> None:
    seal = "SELECT secret, (SELECT count(*) FROM tiergate.seal) FROM tiergate.seal"
    before = await (await admin.execute(seal)).fetchall()
    with pytest.raises(psycopg.errors.UniqueViolation):
        await admin.execute("INSERT INTO tiergate.seal VALUES (sha256('another'))")
    await admin.execute("COMMENT ON SCHEMA tiergate IS 'so that it is laid again'")
    assert await lay_data_plane(admin)

    assert await (await admin.execute(seal)).fetchall() == before
    assert [count for _, count in before] == [1]


async def test_no_plan_that_is_shown_tells_the_seal(
    gate: Connection, acme: Placement, admin: Connection
) -> None:
    """It is a constant in the plans of two functions, and any login may have its plans shown."""
    [[seal]] = await (await admin.execute("SELECT secret FROM tiergate.seal")).fetchall()
    shown: list[str] = []
    gate.add_notice_handler(lambda notice: shown.append(notice.message_detail or ""))
    await gate.execute("SET LOCAL client_min_messages = debug5; SET LOCAL debug_print_plan = on")
    await enter(gate, token(gate, acme).arguments())
    assert await whose(gate) == acme.tenant

    # As Postgres writes a constant: each byte as a signed number, and lines broken anywhere.
    numbers = "".join(str(byte - 256 if byte > 127 else byte) for byte in seal)
    assert any("FUNCEXPR" in plan for plan in shown), "plans were shown"
    assert not any(numbers in "".join(plan.split()) for plan in shown)


async def test_entering_again_as_another_tenant_takes_another_signature(
    gate: Connection, acme: Placement, places: Places
) -> None:
    other = await places.create(Tier.STANDARD)
    await enter(gate, token(gate, acme).arguments())
    with pytest.raises(psycopg.Error, match="not signed"):
        async with gate.transaction():
            await enter(gate, token(gate, acme).arguments(tenant=other.tenant))

    assert await whose(gate) == acme.tenant


# -- what a tenant's SQL may not do, on any tier

FORBIDDEN = [
    "SELECT tiergate.enter('a', 'b', 1, 1, 1, 'c', 1)", "SELECT * FROM tiergate.context_key",
    "SELECT * FROM tiergate.fence", "SELECT * FROM tiergate.seal", "SELECT tiergate.secret()",
    "SELECT * FROM tiergate.application", "UPDATE tiergate.fence SET state = 'active'",
    "DELETE FROM tiergate.fence",
    "SELECT tiergate.protect('notes')", "SELECT set_config('tiergate.context', 'x', true)",
    "UPDATE pg_settings SET setting = 'x' WHERE name = 'tiergate.context'",
    "SELECT set_config('role', 'none', true)",
    "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_xact_lock(1413959000, 1)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_advisory_unlock_all()", "SELECT pg_cancel_backend(1)", "SELECT pg_terminate_backend(1)",
    "SELECT pg_sleep(1)",
    "SELECT * FROM pg_stat_activity", "SELECT * FROM pg_locks", "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_authid",
    "SELECT query_to_xml('SELECT 1', true, true, '')", "SELECT lo_create(0)", "SELECT pg_notify('a', 'b')",
    "SELECT pg_read_file('x')", "SELECT txid_current()", "SELECT nextval('x')", "SELECT ctid FROM notes",
    "SELECT xmin FROM notes",
    "UPDATE notes SET tenant_id = 'x'",
]  # fmt: skip


@pytest.mark.parametrize("tier", Tier)
async def test_a_tenants_sql_cannot_enter_read_keys_or_reach_others(
    places: Places, pools: Switchboard, tier: Tier
) -> None:
    placement = await places.create(tier)
    for statement in FORBIDDEN:
        with pytest.raises(StatementFailed) as failed:
            await run(pools, placement, statement)

        # A login of its own must be able to enter; without a signature that is worth nothing.
        without_signature = "tiergate.enter" in statement and tier is not Tier.STANDARD
        expected = {"TG002"} if without_signature else {"42501", "42P01"}
        assert failed.value.error.code in expected, statement


@pytest.mark.parametrize("tier", Tier)
async def test_whatever_name_a_row_is_given_it_stays_with_its_tenant(
    places: Places, pools: Switchboard, tier: Tier
) -> None:
    one, other = await places.create(tier), await places.create(tier)
    for statement in (
        Statement("INSERT INTO notes (tenant_id, id) VALUES ($1, 1)", (other.tenant.encode(),)),
        Statement("INSERT INTO notes (tenant_id, id) SELECT $1, 1", (other.tenant.encode(),)),
        Statement("MERGE INTO notes USING (SELECT 1) AS v ON false"
                  " WHEN NOT MATCHED THEN INSERT (tenant_id, id) VALUES ($1, 1)", (other.tenant.encode(),)),
    ):  # fmt: skip
        with pytest.raises(StatementFailed) as failed:
            await run(pools, one, statement)
        assert failed.value.error.code == "42501"

    for look in (
        "SELECT count(*) FROM notes",
        "SELECT count(*) FROM notes WHERE tenant_id <> tiergate.tenant()",
    ):
        assert await value(pools, other, look) == "0"


@pytest.mark.parametrize("tier", Tier)
async def test_the_role_and_the_search_path_are_those_of_the_place(
    places: Places, pools: Switchboard, tier: Tier
) -> None:
    placement = await places.create(tier)
    [result] = await run(pools, placement, "SELECT current_user, current_setting('search_path')")

    who = "tiergate_app" if tier is Tier.STANDARD else placement.place.login
    assert result.rows == [(who, f"{placement.place.schema}, pg_temp")]
