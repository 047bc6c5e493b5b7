"""The audit is only added to, and shows when somebody altered it all the same."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from registry.chain import Damage, Head
from registry.errors import RegistryFailed, SecretUnreadable
from registry.migrations import migrate
from registry.records import Asked, Entry
from registry.store import Store
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tests.support.writers import VAULT, add_cluster, open_registry, start
from tiergate.events import AuditCut, AuditGrew, Event
from tiergate.tenant import TenantId, Tier

AUDIT = "tiergate_registry.audit"
UNLOCK = f"ALTER TABLE {AUDIT} DISABLE TRIGGER ALL"
CLOSE_UP = f"DELETE FROM {AUDIT} WHERE id = 3; UPDATE {AUDIT} SET id = id - 1 WHERE id > 3"
SWAP = "; ".join(
    f"UPDATE {AUDIT} SET id = {now} WHERE id = {then}" for then, now in ((3, 99), (6, 3), (99, 6))
)
FORGE = f"""
INSERT INTO {AUDIT} (actor, act, subject, outcome, detail, at, previous, digest, id)
SELECT actor, act, subject, outcome, detail, at, digest, sha256(digest), 9 FROM {AUDIT} WHERE id = 8
"""
REPEAT = f"""
ALTER TABLE {AUDIT} DROP CONSTRAINT audit_pkey, DROP CONSTRAINT audit_previous_key,
    DROP CONSTRAINT audit_digest_key;
INSERT INTO {AUDIT} SELECT * FROM {AUDIT} WHERE id = 4
"""


@pytest.fixture
async def url(database: str) -> str:
    await migrate(url_of(database), VAULT)
    return url_of(database)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """A gateway's, of a registry with eight entries."""
    async with open_registry(url) as store:
        for number in range(8):
            await store.record(
                Entry("alice", "gateway.reload", f"g{number}", detail={"n": number, "ü": None})
            )
        yield store


async def damage(url: str, expected: Head | None = None) -> tuple[Damage, int] | int:
    """What a gateway that was not there before finds; the number of entries when all hold."""
    async with open_registry(url) as stranger:
        found = await stranger.verify_audit(expected)
    return (found.broken.damage, found.broken.id) if found.broken is not None else found.last.id


async def test_an_untouched_audit_holds_and_tells_its_head(store: Store, url: str) -> None:
    newest = (await store.audit_entries(1))[0]

    found = await store.verify_audit(Head(newest.id, newest.digest))

    assert (found.broken, found.last) == (None, Head(8, newest.digest))


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {AUDIT} SET actor = 'bob' WHERE id = 3",
        f"UPDATE {AUDIT} SET actor = 'bob' WHERE false",
        f"DELETE FROM {AUDIT} WHERE id = 3",
        f"TRUNCATE {AUDIT}",
        f"INSERT INTO {AUDIT} TABLE {AUDIT} ON CONFLICT (id) DO UPDATE SET actor = 'bob'",
        f"MERGE INTO {AUDIT} a USING (VALUES (3)) v (id) ON a.id = v.id WHEN MATCHED THEN DELETE",
    ],
)
@pytest.mark.parametrize("mode", ["origin", "replica"])
async def test_what_is_written_is_changed_by_nobody_not_even_its_owner(
    store: Store, database: str, statement: str, mode: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only added to"):
        await run_sql(database, f"SET session_replication_role = {mode}", statement)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (f"UPDATE {AUDIT} SET actor = 'bob' WHERE id = 3", (Damage.CHANGED, 3)),
        (f"UPDATE {AUDIT} SET at = at - interval '1 microsecond' WHERE id = 8", (Damage.CHANGED, 8)),
        (f"UPDATE {AUDIT} SET at = 'infinity' WHERE id = 8", (Damage.CHANGED, 8)),
        (f"UPDATE {AUDIT} SET detail = detail || '{{\"ü\": 3.5}}' WHERE id = 4", (Damage.CHANGED, 4)),
        (f"UPDATE {AUDIT} SET detail = '[]' WHERE id = 4", (Damage.CHANGED, 4)),
        (f"UPDATE {AUDIT} SET digest = sha256(digest) WHERE id = 5", (Damage.CHANGED, 5)),
        (f"UPDATE {AUDIT} SET previous = sha256(previous) WHERE id = 5", (Damage.CHANGED, 5)),
        (f"UPDATE {AUDIT} SET outcome = subject, subject = outcome WHERE id = 1", (Damage.CHANGED, 1)),
        (f"DELETE FROM {AUDIT} WHERE id = 1", (Damage.MISSING, 1)),
        (f"DELETE FROM {AUDIT} WHERE id BETWEEN 3 AND 5", (Damage.MISSING, 3)),
        (CLOSE_UP, (Damage.REORDERED, 3)),
        (SWAP, (Damage.REORDERED, 3)),
        (FORGE, (Damage.CHANGED, 9)),
        (REPEAT, (Damage.CHANGED, 4)),
    ],
)
async def test_what_a_superuser_alters_is_found(
    store: Store, database: str, url: str, statement: str, found: tuple[Damage, int]
) -> None:
    await run_sql(database, UNLOCK, *statement.split(";"))

    assert await damage(url) == found


@pytest.mark.parametrize("cut", [f"DELETE FROM {AUDIT} WHERE id > 5", f"TRUNCATE {AUDIT}"])
async def test_entries_cut_off_at_the_end_are_missed_by_whoever_remembers_a_head(
    store: Store, database: str, url: str, cut: str
) -> None:
    newest = (await store.audit_entries(1))[0]
    left = 0 if cut.startswith("TRUNCATE") else 5
    await run_sql(database, UNLOCK, cut)

    mine = await store.verify_audit()

    assert mine.broken is not None
    assert (mine.broken.damage, mine.broken.id) == (Damage.CUT, left + 1)
    assert await damage(url, Head(newest.id, newest.digest)) == (Damage.CUT, left + 1)
    assert await damage(url) == left


async def test_history_that_was_written_anew_is_not_the_one_that_is_remembered(
    store: Store, database: str, url: str
) -> None:
    old = (await store.audit_entries(1))[0]
    await run_sql(database, UNLOCK, f"CREATE TABLE kept AS SELECT * FROM {AUDIT} WHERE id > 6")
    await run_sql(database, f"DELETE FROM {AUDIT} WHERE id > 5")
    async with open_registry(url) as other:
        for _ in range(3):
            await other.record(Entry("bob", "gateway.reload", "gateway"))

    assert await damage(url) == 8
    assert await damage(url, Head(old.id, old.digest)) == (Damage.REPLACED, 8)
    await run_sql(database, f"DELETE FROM {AUDIT} WHERE id > 6", f"INSERT INTO {AUDIT} SELECT * FROM kept")
    assert await damage(url) == (Damage.REPLACED, 6)


async def test_entries_of_another_registry_entries_do_not_fit(store: Store, database: str, url: str) -> None:
    await run_sql(database, "UPDATE tiergate_registry.registry SET id = 'another'")

    assert await damage(url) == (Damage.CHANGED, 1)


async def test_a_gateway_that_sees_the_audit_cut_says_so_when_it_adds_to_it(url: str, database: str) -> None:
    told: list[Event] = []
    async with open_registry(url, told.append) as store:
        for _ in range(3):
            await store.record(Entry("alice", "gateway.reload", "gateway"))
        await run_sql(database, UNLOCK, f"DELETE FROM {AUDIT} WHERE id > 1")
        await store.record(Entry("alice", "gateway.reload", "gateway"))

    grown = [event for event in told if isinstance(event, AuditGrew)]
    (cut,) = [event for event in told if isinstance(event, AuditCut)]
    assert [(event.entries, event.act) for event in grown] == [(n, "gateway.reload") for n in (1, 2, 3)]
    assert (cut.known, cut.found) == (grown[2].head, grown[0].head)


async def test_a_change_that_is_rolled_back_leaves_no_gap_and_is_not_told(url: str, database: str) -> None:
    told: list[Event] = []
    async with open_registry(url, told.append) as store:
        await add_cluster(store)
        await run_sql(
            database,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'late'; END $$",
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tiergate_registry.tenant"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        with pytest.raises(RegistryFailed):  # at the commit, after its entry was written
            await store.create_tenant(
                TenantId("umbrella"), Tier.STANDARD, application_schema="app", actor="alice"
            )
        await store.touch_credentials([])
        await store.record(Entry("alice", "gateway.reload", "gateway"))

    assert [event.act for event in told if isinstance(event, AuditGrew)] == ["cluster.add", "gateway.reload"]
    assert await damage(url) == 2


async def test_several_processes_that_write_at_once_make_one_chain(url: str) -> None:
    async with open_registry(url) as store:
        await add_cluster(store)
        processes = [await start(url, name, 25) for name in ("ann", "bob", "cid")]
        async with asyncio.TaskGroup() as tasks:
            for number in range(25):
                tasks.create_task(store.record(Entry("alice", "gateway.reload", f"g{number}")))
        for process in processes:
            await process.communicate()

        assert [process.returncode for process in processes] == [0, 0, 0]
        assert await damage(url) == 1 + 3 * 25 + 25
        entries = await store.audit_entries(1000)
    times = [entry.at for entry in entries]
    assert times == sorted(times, reverse=True)


async def test_a_process_that_is_killed_leaves_act_and_entry_or_neither(url: str, database: str) -> None:
    async with open_registry(url) as store:
        await add_cluster(store)
    for attempt in range(4):
        process = await start(url, f"try-{attempt}", 100_000)
        assert process.stdout is not None
        for _ in range(3 + 2 * attempt):
            await process.stdout.readline()
        process.kill()
        await process.wait()

    tenants = await run_sql(database, "SELECT name FROM tiergate_registry.tenant ORDER BY name")
    told = await run_sql(
        database, f"SELECT subject FROM {AUDIT} WHERE act = 'tenant.create' ORDER BY subject"
    )
    assert len(tenants) >= 3 + 5 + 7 + 9
    assert tenants == told
    assert await damage(url) == len(told) + 1


async def test_a_fraction_is_refused_before_it_is_written(store: Store, url: str) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        await store.record(Entry("alice", "gateway.reload", "gateway", detail={"s": 1.5}))

    assert await damage(url) == 8


@pytest.fixture
async def unchained(store: Store, database: str) -> None:
    """The registry as it was before its audit became a chain, with numbers left out."""
    await add_cluster(store)
    await run_sql(
        database,
        UNLOCK,
        f"DELETE FROM {AUDIT} WHERE id IN (1, 4, 5)",
        f"ALTER TABLE {AUDIT} DROP previous, DROP digest, ALTER id ADD GENERATED ALWAYS AS IDENTITY",
        f"DROP TRIGGER append_only ON {AUDIT}",
        "DROP FUNCTION tiergate_registry.audit_refuse, tiergate_registry.audit_head",
        "ALTER TABLE tiergate_registry.cluster DROP pgbouncer, DROP pgbouncer_prepares",
        "ALTER TABLE tiergate_registry.data_database DROP context_retiring, DROP context_since",
        "ALTER TABLE tiergate_registry.tenant DROP requests_per_s, DROP burst, DROP max_tenant_inflight,"
        " DROP max_tenant_waiting, DROP weight, DROP warm, DROP compliance",
        "ALTER TABLE tiergate_registry.cluster DROP storage_due_at",
        "DROP TABLE tiergate_registry.replica, tiergate_registry.gateway_process,"
        " tiergate_registry.pool_order, tiergate_registry.move_step, tiergate_registry.move,"
        " tiergate_registry.usage, tiergate_registry.usage_writer, tiergate_registry.admin_key",
        "UPDATE tiergate_registry.revision SET version_num = '0002'",
    )


@pytest.mark.usefixtures("unchained")
async def test_what_was_written_before_is_chained_as_it_stands(store: Store, url: str) -> None:
    applied = await migrate(url, VAULT)

    await store.record(Entry("alice", "gateway.reload", "later"))
    subjects = [each.entry.subject for each in await store.audit_entries(asked=Asked(newer=0))]
    assert "0003" in applied
    assert await damage(url) == 7
    assert subjects == ["g1", "g2", "g5", "g6", "g7", "main", "later"]


@pytest.mark.usefixtures("unchained")
async def test_nothing_is_chained_with_a_wrong_master_key(url: str) -> None:
    with pytest.raises(SecretUnreadable):
        await migrate(url, Vault("another master key"))

    assert "0003" in await migrate(url, VAULT)
