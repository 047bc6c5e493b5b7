"""What a token is worth that names no server process, as those must that go through a transaction pooler."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg.rows import TupleRow

from pools.binding import bind
from registry.placement import PlaceId, Placement
from tests.support.places import Places, login_of, open_admin, open_places
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
NAMES = ("tenant", "place", "epoch", "kid", "expires", "mac", "timeout_ms")


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[Connection]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection


@pytest.fixture
async def acme(places: Places, admin: Connection) -> Placement:
    """A tenant whose database is marked: it believes tokens that name no process."""
    await mark(admin, pooled=True)
    return pooled(await places.create(Tier.STANDARD))


async def mark(admin: Connection, *, pooled: bool) -> None:
    await admin.execute("UPDATE tiergate.context_key SET pooled = %s", (pooled,))


def pooled(placement: Placement) -> Placement:
    return replace(placement, place=replace(placement.place, via_pgbouncer=True))


def token(placement: Placement, *, ahead_s: float = 0.0) -> dict[str, str]:
    """What a gateway whose clock is *ahead_s* ahead sends to `enter`, as text by name."""
    bound = bind(placement, pid=0, now_s=time.time() + ahead_s, timeout_ms=9000, life_s=5)
    return dict(zip(NAMES, (param.decode() for param in bound.params), strict=True))


async def enter(placement: Placement, arguments: dict[str, Any], login: Placement | None = None) -> str:
    """Whose the transaction is, on a connection of its own that *arguments* were used on."""
    async with (
        await psycopg.AsyncConnection.connect(login_of((login or placement).place)) as connection,
        connection.transaction(force_rollback=True),
    ):
        await connection.execute(
            "SELECT tiergate.enter(%s, %s, %s, %s, %s, %s, %s)", [arguments[name] for name in NAMES]
        )
        row = await (await connection.execute("SELECT tiergate.tenant()")).fetchone()
    return str(row[0]) if row else ""


async def test_it_is_good_on_any_connection_of_the_places_login(acme: Placement) -> None:
    signed = token(acme)

    assert [await enter(acme, signed) for _ in range(2)] == [acme.tenant] * 2


async def test_a_database_that_is_not_marked_refuses_it(acme: Placement, admin: Connection) -> None:
    await mark(admin, pooled=False)
    with pytest.raises(psycopg.Error, match="takes nothing through a pooler") as refused:
        await enter(acme, token(acme))

    assert (refused.value.sqlstate, refused.value.diag.message_hint) == ("TG002", "key")


@pytest.mark.parametrize(
    "forged",
    [
        {"tenant": "another"}, {"tenant": None}, {"place": "pl_x"}, {"place": None}, {"epoch": 1},
        {"epoch": None}, {"expires": 1}, {"expires": 4102444800}, {"expires": None},
        {"timeout_ms": 9001}, {"timeout_ms": None},
        {"timeout_ms": 0}, {"mac": "p"}, {"mac": "p" + "0" * 64}, {"mac": "pp"},
    ],
    ids=str,
)  # fmt: skip
async def test_whatever_is_changed_after_signing_it_is_refused(
    acme: Placement, forged: dict[str, Any]
) -> None:
    """The timeout is signed, too: whoever took the token away could run for ever under it."""
    with pytest.raises(psycopg.Error, match="not signed for this tenant and connection"):
        await enter(acme, token(acme) | forged)


async def test_the_two_kinds_are_never_taken_for_each_other(acme: Placement) -> None:
    direct = replace(acme, place=replace(acme.place, via_pgbouncer=False))
    through, straight = token(acme), token(direct)
    for mistaken in (
        through | {"mac": through["mac"][1:]},
        straight | {"mac": "p" + straight["mac"]},
        straight,  # signed for process 0
    ):
        with pytest.raises(psycopg.Error, match="not signed for this tenant and connection"):
            await enter(acme, mistaken)


async def test_it_is_worth_nothing_to_another_login(acme: Placement, places: Places) -> None:
    """Where a tenant has a login of its own, that login may call enter()."""
    theirs = await places.create(Tier.PREMIUM)
    with pytest.raises(psycopg.Error, match="not signed for this tenant and connection"):
        await enter(acme, token(acme), login=theirs)


async def test_it_is_worth_nothing_in_another_database(acme: Placement, places: Places) -> None:
    """Each database has a key of its own; the tests' places share one, so here it is made to differ."""
    government = pooled(await places.create(Tier.GOVERNMENT))
    async with open_admin(places.admin(government.place)) as there:
        await mark(there, pooled=True)
        assert await enter(government, token(government)) == government.tenant
        await there.execute("UPDATE tiergate.context_key SET inner_pad = outer_pad, outer_pad = inner_pad")
    with pytest.raises(psycopg.Error, match="not signed"):
        await enter(government, token(government))


@pytest.mark.parametrize("ahead_s", [-7, -3600, 100, 86_400])
async def test_it_has_its_time_and_never_much_of_it(acme: Placement, ahead_s: float) -> None:
    """A gateway whose clock is ahead would otherwise sign what is good for hours."""
    with pytest.raises(psycopg.Error, match="has expired, or would live too long") as refused:
        await enter(acme, token(acme, ahead_s=ahead_s))

    assert (refused.value.sqlstate, refused.value.diag.message_hint) == ("TG002", "clock")


async def test_the_fence_is_asked_as_ever(acme: Placement, admin: Connection) -> None:
    elsewhere = replace(acme, place=replace(acme.place, id=PlaceId("pl_000000000000")))
    for stale in (replace(acme, epoch=acme.epoch + 1), replace(acme, tenant=TenantId("nobody")), elsewhere):
        with pytest.raises(psycopg.Error, match="stale route"):
            await enter(stale, token(stale))
    await admin.execute("UPDATE tiergate.fence SET state = 'suspended' WHERE tenant_id = %s", (acme.tenant,))
    with pytest.raises(psycopg.Error, match="stale route"):
        await enter(acme, token(acme))
