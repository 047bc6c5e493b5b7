"""What would make a move fail is told before anything is changed; what is sound is not complained of."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from fleet.own import own_schema
from moves.ends import End
from moves.finding import KINDS, Finding
from moves.preflight import Preflight, look
from moves.sight import Goal
from registry.placement import Placement
from tests.support.places import SMALL, Places, open_admin, open_places
from tests.support.postgres import open_test_cluster, run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clusters, each one database that serves every tier."""

    here: Places
    there: Places

    def goal(self, tier: Tier, **said: int) -> Goal:
        place = self.there.shared if tier is Tier.STANDARD else None
        return Goal(self.there.access, tier, place, **said)

    async def look(self, placement: Placement, tier: Tier, **said: int) -> Preflight:
        source = End(self.here.access, placement)
        return await look(source, self.goal(tier, **said), SMALL, Deadline.after(60))

    async def find(self, placement: Placement, tier: Tier, **said: int) -> dict[str, Finding]:
        return {each.code: each for each in (await self.look(placement, tier, **said)).findings}


@pytest.fixture(scope="module")
async def pair(postgres: Cluster) -> AsyncIterator[Pair]:
    async with open_places(postgres) as here, open_places(postgres) as there:
        yield Pair(here, there)


@pytest.mark.parametrize("target", Tier)
@pytest.mark.parametrize("source", Tier)
async def test_of_a_sound_place_nothing_is_told(pair: Pair, source: Tier, target: Tier) -> None:
    placement = await pair.here.create(source)

    seen = await pair.look(placement, target)

    assert seen.findings == ()
    assert not seen.is_refused
    assert [table.table for table in seen.tables] == ["notes", "replies"]
    assert seen.duration_s > 0
    assert seen.pause_ms > 0


PLANTED = [
    ("no-primary-key", "ALTER TABLE {S}.replies DROP CONSTRAINT replies_pkey", "table replies"),
    ("no-tenant-column", "CREATE TABLE {S}.loose (id integer PRIMARY KEY)", "table loose"),
    ("inherited", "CREATE TABLE {S}.more (PRIMARY KEY (tenant_id, id)) INHERITS ({S}.notes)", "table more"),
    (
        "outside-key",
        (
            "CREATE TABLE {S}_far (tenant_id text NOT NULL, id integer, PRIMARY KEY (tenant_id, id));"
            "ALTER TABLE {S}.notes ADD CONSTRAINT leaves FOREIGN KEY (tenant_id, id) REFERENCES {S}_far"
        ),
        "foreign key leaves",
    ),
    ("unlogged", "ALTER TABLE {S}.replies SET UNLOGGED", "table replies"),
    (
        "always-fires",
        (
            "CREATE FUNCTION {S}.heard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER hears AFTER INSERT ON {S}.notes FOR EACH ROW EXECUTE FUNCTION {S}.heard();"
            "ALTER TABLE {S}.notes ENABLE ALWAYS TRIGGER hears"
        ),
        "trigger hears",
    ),
    (
        "always-fires",
        (
            "CREATE RULE doubles AS ON INSERT TO {S}.replies DO ALSO NOTHING;"
            "ALTER TABLE {S}.replies ENABLE REPLICA RULE doubles"
        ),
        "rule doubles",
    ),
    ("large-objects", "SELECT lo_create(77); ALTER LARGE OBJECT 77 OWNER TO {L}", "1 large objects of"),
    (
        "own-objects",
        (
            "CREATE SCHEMA {O}; CREATE TABLE {O}.mine (); CREATE TYPE {O}.mood AS ENUM ('well');"
            "CREATE FUNCTION {O}.one() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
        ),
        "mine",
    ),
    ("application", "DELETE FROM tiergate.application WHERE schema_name = '{S}'", "not made by tiergate"),
    (
        "application",
        "UPDATE tiergate.application SET checksum = 'other' WHERE schema_name = '{S}'",
        "other SQL files",
    ),
    ("publications", "CREATE PUBLICATION {S}_news FOR TABLE {S}.notes", "has table notes"),
    (
        "extensions",
        "CREATE EXTENSION IF NOT EXISTS citext; ALTER TABLE {S}.notes ADD name citext",
        "'citext'",
    ),
    ("fence", "UPDATE tiergate.fence SET state = 'moved' WHERE place = '{P}'", "its fence is moved"),
    ("fence", "UPDATE tiergate.fence SET epoch = epoch + 1 WHERE place = '{P}'", "in epoch"),
    ("fence", "UPDATE tiergate.fence SET move_id = gen_random_uuid() WHERE place = '{P}'", "held by attempt"),
    ("fence", "DELETE FROM tiergate.fence WHERE place = '{P}'", "no fence"),
    (
        "leftovers",
        "INSERT INTO tiergate.import_guard VALUES ('{T}', '{P}', gen_random_uuid(), gen_random_uuid())",
        "import_guard",
    ),
]


@pytest.mark.parametrize(("code", "mistake", "told"), PLANTED, ids=[f"{p[0]}: {p[2]}" for p in PLANTED])
async def test_what_is_wrong_at_the_source_is_told(pair: Pair, code: str, mistake: str, told: str) -> None:
    placement = await pair.here.create(Tier.PREMIUM)

    await run_sql(pair.here.admin(placement.place), *planted(mistake, placement))

    seen = await pair.look(placement, Tier.GOVERNMENT)
    found = [each for each in seen.findings if each.code == code]
    assert {each.code for each in seen.findings} <= {code, "structure"}
    assert any(told in each.what for each in found)
    assert seen.is_refused or not KINDS[code].forbids
    place = pair.there.shared if code == "extensions" else placement.place
    assert {each.where for each in found} == {f"main: {place.database}"}


def planted(mistake: str, placement: Placement) -> list[str]:
    place = placement.place
    names = {
        "S": place.schema,
        "L": place.login,
        "O": own_schema(place),
        "P": place.id,
        "T": placement.tenant,
    }
    return [mistake.format(**names)]


BUILT = [
    ("ALTER TABLE {S}.notes ADD extra text", "column notes extra text"),
    ("ALTER TABLE {S}.notes DROP body", "column notes body text"),
    ("ALTER TABLE {S}.notes ALTER body TYPE varchar(9)", "character varying(9)"),
    ("CREATE INDEX ON {S}.notes (tenant_id, body)", "index notes"),
    ("ALTER TABLE {S}.notes DROP CONSTRAINT notes_body_check", "notes_body_check"),
]


@pytest.mark.parametrize(("mistake", "told"), BUILT)
@pytest.mark.parametrize("target", [Tier.STANDARD, Tier.GOVERNMENT])
async def test_tables_that_were_changed_by_hand_are_told(
    pair: Pair, target: Tier, mistake: str, told: str
) -> None:
    """Held against the target's tables where there are some, else against what the SQL files make."""
    placement = await pair.here.create(Tier.PREMIUM)

    await run_sql(pair.here.admin(placement.place), *planted(mistake, placement))

    found = await pair.find(placement, target)
    assert set(found) == {"structure"}
    assert told in found["structure"].what


async def test_what_was_changed_by_hand_at_both_ends_alike_is_no_hindrance(pair: Pair) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    index = "CREATE INDEX by_body ON {}.notes (tenant_id, body)"
    await run_sql(pair.here.admin(placement.place), index.format(placement.place.schema))
    await run_sql(pair.there.admin(pair.there.shared), index.format("app"))
    try:
        assert await pair.find(placement, Tier.STANDARD) == {}
    finally:
        await run_sql(pair.there.admin(pair.there.shared), "DROP INDEX app.by_body")


THERE = [
    (
        "leftovers",
        "INSERT INTO tiergate.import_guard VALUES ('{T}', 'pl_x', gen_random_uuid(), gen_random_uuid())",
    ),
    ("fence", "INSERT INTO tiergate.fence VALUES ('{T}', 'pl_x', 1000000, 'active')"),
    ("fence", "INSERT INTO tiergate.fence VALUES ('{T}', 'pl_x', 0, 'active')"),
    ("target-rows", "INSERT INTO app.notes VALUES ('{T}', 1, 'left over')"),
]


@pytest.mark.parametrize(("code", "mistake"), THERE)
async def test_what_lies_at_the_target_already_is_told(pair: Pair, code: str, mistake: str) -> None:
    placement = await pair.here.create(Tier.PREMIUM)

    await run_sql(pair.there.admin(pair.there.shared), *planted(mistake, placement))

    assert set(await pair.find(placement, Tier.STANDARD)) == {code}


@pytest.mark.parametrize("state", ["moved", "deleted"])
@pytest.mark.parametrize("epoch", [0, 1_000_000])
async def test_a_tombstone_of_an_earlier_move_is_no_hindrance(pair: Pair, state: str, epoch: int) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    gone = f"INSERT INTO tiergate.fence VALUES ('{{T}}', 'pl_x', {epoch}, '{state}')"

    await run_sql(pair.there.admin(pair.there.shared), *planted(gone, placement))

    assert await pair.find(placement, Tier.STANDARD) == {}


async def test_a_database_is_left_only_by_what_the_application_made(pair: Pair) -> None:
    placement = await pair.here.create(Tier.GOVERNMENT)
    admin = pair.here.admin(placement.place)

    await run_sql(admin, "CREATE TABLE public.extra (a integer)", "SELECT lo_create(0)")

    found = await pair.find(placement, Tier.PREMIUM)
    assert found["other-objects"].what == "table public.extra"
    assert found["large-objects"].what == "1 large objects"


async def test_shared_tables_made_from_other_files_are_told(pair: Pair) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    admin = pair.there.admin(pair.there.shared)

    [(was,)] = await run_sql(admin, "SELECT checksum FROM tiergate.application WHERE schema_name = 'app'")
    await run_sql(admin, "UPDATE tiergate.application SET checksum = 'x' WHERE schema_name = 'app'")
    try:
        found = await pair.find(placement, Tier.STANDARD)
    finally:
        await run_sql(admin, f"UPDATE tiergate.application SET checksum = '{was}' WHERE schema_name = 'app'")
    assert found["application"].where.endswith(pair.there.shared.database)


async def test_a_transaction_that_holds_the_tenant_for_long_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    monkeypatch.setattr("moves.looks.LONG_S", 0.0)

    async with open_admin(pair.here.admin(placement.place)) as busy, busy.transaction():
        process = str(busy.info.backend_pid)
        await busy.execute(
            "SELECT pg_advisory_xact_lock_shared(1413959000, hashtext(%s))", (placement.tenant,)
        )
        await busy.execute(f"LOCK TABLE {placement.place.schema}.notes IN ROW EXCLUSIVE MODE".encode())
        found = await pair.find(placement, Tier.STANDARD)

    assert "holds notes, the tenant's lock" in found["long-transactions"].what
    assert process in found["long-transactions"].what
    assert not found["long-transactions"].forbids


async def test_a_transaction_of_another_tenant_is_not(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    placement, other = await pair.here.create(Tier.PREMIUM), await pair.here.create(Tier.PREMIUM)
    monkeypatch.setattr("moves.looks.LONG_S", 0.0)

    async with open_admin(pair.here.admin(placement.place)) as busy, busy.transaction():
        await busy.execute("SELECT pg_advisory_xact_lock_shared(1413959000, hashtext(%s))", (other.tenant,))
        await busy.execute(f"LOCK TABLE {other.place.schema}.notes IN ROW EXCLUSIVE MODE".encode())
        found = await pair.find(placement, Tier.STANDARD)

    assert found == {}


async def test_a_move_within_one_database_is_told(pair: Pair) -> None:
    placement = await pair.here.create(Tier.PREMIUM)

    assert set(await Pair(pair.here, pair.here).find(placement, Tier.STANDARD)) == {"same-database", "fence"}


async def test_more_places_than_connections_are_told(pair: Pair) -> None:
    placement = await pair.here.create(Tier.STANDARD)

    assert await pair.find(placement, Tier.PREMIUM, tenants=39, budget=40) == {}
    assert set(await pair.find(placement, Tier.PREMIUM, tenants=40, budget=40)) == {"budget"}


@pytest.mark.parametrize("source", Tier)
async def test_the_rows_are_estimated_of_the_tenant_alone(pair: Pair, source: Tier) -> None:
    placement, other = await pair.here.create(source), await pair.here.create(source)
    for each, count in ((placement, 1000), (other, 9000)):
        schema = each.place.schema
        await run_sql(
            pair.here.admin(each.place),
            f"INSERT INTO {schema}.notes SELECT '{each.tenant}', g, 'a' FROM generate_series(1, {count}) g",
            f"ANALYZE {schema}.notes",
        )

    seen = await pair.look(placement, Tier.PREMIUM if source is Tier.STANDARD else Tier.STANDARD)

    assert 800 <= seen.rows <= 1300
    assert 20_000 < seen.size_bytes < 400_000


async def test_nothing_is_changed_by_looking(pair: Pair) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    admin = pair.here.admin(placement.place)
    kept = "SELECT array_agg((oid, xmin::text)::text ORDER BY oid) FROM pg_class"
    before = await run_sql(admin, kept)

    await pair.look(placement, Tier.STANDARD)

    assert await run_sql(admin, kept) == before


async def test_what_two_servers_differ_in_is_told(pair: Pair) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    settings = {"max_connections": "20", "max_locks_per_transaction": "10", "max_prepared_transactions": "2"}
    many = ";".join(
        f"CREATE TABLE {placement.place.schema}.t{n} (tenant_id text NOT NULL, PRIMARY KEY (tenant_id))"
        for n in range(60)
    )
    await run_sql(pair.here.admin(placement.place), many)

    async with open_test_cluster(**settings) as server, open_places(server) as there:
        await run_sql(
            there.admin(there.shared),
            "DROP SCHEMA IF EXISTS other",
            f"ALTER DATABASE {there.access.database} REFRESH COLLATION VERSION",
        )
        small = Pair(pair.here, there)
        found = await small.find(placement, Tier.PREMIUM)

        assert set(found) >= {"locks", "connections"}
        assert "room for 220 locks" in found["locks"].what


async def test_a_prepared_transaction_that_holds_the_tenant_is_told(pair: Pair) -> None:
    async with open_test_cluster(max_prepared_transactions="2") as server, open_places(server) as here:
        own = Pair(here, pair.there)
        placement, other = await here.create(Tier.PREMIUM), await here.create(Tier.PREMIUM)
        for name, each in (("theirs", other), ("ours", placement)):
            await run_sql(
                here.admin(each.place),
                f"BEGIN; LOCK TABLE {each.place.schema}.notes IN SHARE MODE; PREPARE TRANSACTION '{name}'",
            )

        found = await own.find(placement, Tier.STANDARD)
        assert "transaction ours " in found["prepared-transactions"].what
        assert found["prepared-transactions"].forbids

        for name in ("theirs", "ours"):
            await run_sql(here.admin(placement.place), f"ROLLBACK PREPARED '{name}'")
        assert "prepared-transactions" not in await own.find(placement, Tier.STANDARD)


async def test_other_collations_of_the_target_are_told(pair: Pair, postgres: Cluster) -> None:
    placement = await pair.here.create(Tier.PREMIUM)
    name = "in_c_" + placement.place.id
    await run_sql(
        postgres.conninfo(),
        f"CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc",
    )
    try:
        goal = Goal(replace(pair.there.access, database=name), Tier.PREMIUM, None)
        seen = await look(End(pair.here.access, placement), goal, SMALL, Deadline.after(60))
    finally:
        await run_sql(postgres.conninfo(), f"DROP DATABASE {name}")

    [(provider, collate)] = await run_sql(
        postgres.conninfo(), "SELECT datlocprovider, datcollate FROM pg_database WHERE datname = 'template1'"
    )
    expected = [] if (provider, collate) == ("c", "C") else ["locale"]
    assert [each.code for each in seen.findings] == expected


def test_every_kind_of_finding_says_what_to_do() -> None:
    assert all(kind.cure.endswith(".") for kind in KINDS.values())
