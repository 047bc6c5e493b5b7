"""A tenant's way in, on each tier, as the pools will take it; and the fleet that the other tests stand in."""

import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from fleet.access import ClusterAccess
from fleet.application import read_application
from fleet.provision import Provisioner
from registry.placement import Place, PlaceId, Placement, TenantState
from tests.support.postgres import open_database
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier

EXAMPLES = Path(__file__).parents[2] / "examples"
ADDRESS = ("host", "port")
_epochs = count(1)


def access_of(conninfo: str, name: str = "main") -> ClusterAccess:
    """A cluster whose database is the one that a superuser's conninfo names."""
    part = {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}
    address = make_conninfo("", **{key: part[key] for key in ADDRESS})
    return ClusterAccess(name, address, part["dbname"], part["user"], part["password"])


def soon() -> Deadline:
    """Far more than anything here takes, even on a busy machine."""
    return Deadline.after(60)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One database that serves as the cluster of every tier, and who makes places in it."""

    access: ClusterAccess
    provisioner: Provisioner
    shared: Place

    def placement(self, tier: Tier, tenant: str | None = None) -> Placement:
        """A placement as the registry would write it down: a new tenant with a new epoch."""
        epoch = next(_epochs)
        name = TenantId(tenant or f"tenant-{epoch}")
        return Placement(name, tier, TenantState.CREATING, self._place(tier), epoch, None)

    def _place(self, tier: Tier) -> Place:
        name = f"pl_{secrets.token_hex(6)}"
        own = replace(
            self.shared, id=PlaceId(name), tier=tier, login=name, password=secrets.token_urlsafe(32)
        )
        match tier:
            case Tier.STANDARD:
                return self.shared
            case Tier.PREMIUM:
                return replace(own, schema=name)
            case Tier.GOVERNMENT:
                return replace(own, database=name)

    async def create(self, tier: Tier, tenant: str | None = None) -> Placement:
        """A tenant with its place made."""
        placement = self.placement(tier, tenant)
        await self.provisioner.create(self.access, placement, soon())
        return placement

    def admin(self, database: str | None = None) -> str:
        """The superuser's conninfo."""
        access = self.access
        return make_conninfo(
            access.conninfo, user=access.user, password=access.password, dbname=database or access.database
        )


def shared_place(access: ClusterAccess) -> Place:
    """The shared place of a standard cluster, with a gate of its own: tests share a server."""
    return Place(
        id=PlaceId("pl_shared"),
        tier=Tier.STANDARD,
        cluster=access.name,
        conninfo=access.conninfo,
        database=access.database,
        schema="app",
        login=f"gate_{secrets.token_hex(6)}",
        password=secrets.token_urlsafe(32),
        context_key=secrets.token_bytes(32),
        context_kid=1,
    )


@asynccontextmanager
async def open_fleet(server: Cluster) -> AsyncIterator[Fleet]:
    """The example application on a fresh database that is a prepared cluster of all three tiers."""
    async with open_database(server) as conninfo:
        access = access_of(conninfo)
        fleet = Fleet(access, Provisioner(read_application(EXAMPLES / "application")), shared_place(access))
        for tier in Tier:
            shared = fleet.shared if tier is Tier.STANDARD else None
            await fleet.provisioner.prepare_cluster(access, tier, soon(), shared=shared)
        yield fleet


def login_of(place: Place, database: str | None = None) -> str:
    """The conninfo of the role that serves a place."""
    return make_conninfo(
        place.conninfo, user=place.login, password=place.password, dbname=database or place.database
    )


@asynccontextmanager
async def open_request(placement: Placement) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
    """A connection inside one transaction of the tenant."""
    opened = await psycopg.AsyncConnection.connect(login_of(placement.place), autocommit=True)
    async with opened as connection, connection.transaction():
        await enter(connection, placement)
        yield connection


async def enter(connection: psycopg.AsyncConnection[TupleRow], placement: Placement) -> None:
    """Make the open transaction the tenant's, and its SQL the sandbox role's where there is one."""
    place, expires = placement.place, int(time.time()) + 60
    signed = f"enter|{place.context_kid}|{connection.info.backend_pid}|{expires}|{placement.epoch}"
    signed = f"{signed}|{place.id}|{placement.tenant}"
    mac = hmac.new(place.context_key, signed.encode(), hashlib.sha256).hexdigest()
    await connection.execute(
        "SELECT tiergate.enter(%s, %s, %s, %s, %s, %s, %s)",
        (placement.tenant, place.id, placement.epoch, place.context_kid, expires, mac, 30_000),
    )
    if placement.tier is Tier.STANDARD:
        await connection.execute("SET LOCAL ROLE tiergate_app")


async def ask(placement: Placement, statement: str) -> list[TupleRow]:
    """The rows of one statement of the tenant's."""
    async with open_request(placement) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


def seed() -> list[str]:
    """The statements of examples/seed.sql."""
    return (EXAMPLES / "seed.sql").read_text(encoding="utf-8").split("\n;\n")


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


@pytest.mark.parametrize("tier", Tier)
async def test_the_seed_fills_a_tenant_alike_on_every_tier(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)

    for statement in seed():
        await ask(placement, statement)

    counted = "SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM {}), (SELECT count(*) FROM {})"
    rows = await ask(placement, counted.format("members", "projects", "tasks"))
    assert rows == [(20, 12, 240)]


async def test_the_seed_changes_nothing_the_second_time(fleet: Fleet) -> None:
    placement = await fleet.create(Tier.PREMIUM)
    every_row = "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM tasks AS t"
    for statement in seed():
        await ask(placement, statement)
    before = await ask(placement, every_row)

    for statement in seed():
        await ask(placement, statement)

    assert await ask(placement, every_row) == before


async def test_two_tenants_on_shared_tables_see_only_their_own_rows(fleet: Fleet) -> None:
    one, other = await fleet.create(Tier.STANDARD), await fleet.create(Tier.STANDARD)
    for statement in seed():
        await ask(one, statement)

    assert await ask(other, "SELECT * FROM tasks") == []
    assert await ask(one, "SELECT DISTINCT tenant_id FROM tasks") == [(one.tenant,)]


@pytest.mark.parametrize("tier", Tier)
async def test_without_entering_no_row_is_read(fleet: Fleet, tier: Tier) -> None:
    place = (await fleet.create(tier)).place
    async with await psycopg.AsyncConnection.connect(login_of(place)) as connection:
        if tier is Tier.STANDARD:
            await connection.execute("SET ROLE tiergate_app")

        with pytest.raises(psycopg.Error, match="no tenant in this transaction") as refused:
            await connection.execute("SELECT * FROM members")

    assert refused.value.sqlstate == "TG002"


@pytest.mark.parametrize("tier", Tier)
async def test_a_row_cannot_be_given_to_another_tenant(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    given_away = "INSERT INTO members (tenant_id, email, name) VALUES ('someone-else', 'a@b.example', 'A')"

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, given_away)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, "UPDATE members SET tenant_id = 'someone-else'")


@pytest.mark.parametrize("column", ["ctid", "xmin", "tableoid"])
async def test_system_columns_are_out_of_reach(fleet: Fleet, column: str) -> None:
    placement = await fleet.create(Tier.STANDARD)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, f"SELECT {column} FROM members")


@pytest.mark.parametrize(
    "statement", ["TRUNCATE tasks", "CREATE TABLE mine (x int)", "CREATE TEMP TABLE mine (x int)"]
)
@pytest.mark.parametrize("tier", Tier)
async def test_nothing_is_emptied_or_made(fleet: Fleet, tier: Tier, statement: str) -> None:
    placement = await fleet.create(tier)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await ask(placement, statement)


@pytest.mark.parametrize("tier", Tier)
async def test_a_session_begins_alike_on_every_tier(fleet: Fleet, tier: Tier) -> None:
    placement = await fleet.create(tier)
    names = (
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "TimeZone",
        "temp_file_limit",
        "max_parallel_workers_per_gather",
        "jit",
        "client_connection_check_interval",
        "log_min_messages",
        "search_path",
    )

    rows = await ask(placement, "SELECT " + ", ".join(f"current_setting('{name}')" for name in names))

    assert rows == [
        ("5s", "1min", "UTC", "1GB", "0", "off", "2s", "log", f"{placement.place.schema}, pg_temp")
    ]
