"""What the registry keeps, refuses and tells, on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from config.settings import Registry
from registry.credentials import Scope, new_key
from registry.errors import (
    BadCluster,
    ClusterExists,
    NoCluster,
    RegistryFailed,
    ResidencyViolated,
    SecretUnreadable,
    TenantExists,
    UnknownCluster,
    UnknownCredential,
    UnknownPlace,
    UnknownTenant,
    WrongState,
    WrongTier,
)
from registry.migrations import migrate
from registry.placement import PlaceId, Placement, Replica, TenantState
from registry.records import Asked, Cluster, Entry, PlaceState
from registry.store import Store, open_store
from registry.tables import CHANNEL
from registry.vault import Vault
from tests.support.places import open_admin
from tests.support.postgres import open_database, run_sql, url_of
from tests.support.waiting import wait_until
from tiergate.embedded import Cluster as Server
from tiergate.tenant import TenantId, Tier

ACME, UMBRELLA = TenantId("acme"), TenantId("umbrella")
VAULT = Vault("a master key of the tests")
CONNINFO = "host=db.example.com port=5432 sslmode=verify-full"


def settings(database: str, *, timeout_s: float = 10) -> Registry:
    return Registry(
        url=url_of(database),
        pool_size=5,
        timeout_s=timeout_s,
        cache_size=100,
        ttl_s=60,
        negative_ttl_s=5,
        stale_for_s=600,
    )


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    await migrate(url_of(database), VAULT)
    async with open_store(settings(database), VAULT) as store:
        yield store


async def add_cluster(store: Store, name: str, tier: Tier, region: str | None = None) -> Cluster:
    return await store.add_cluster(
        name,
        tier,
        conninfo=CONNINFO,
        database="app",
        admin_user="postgres",
        admin_password="s3cret",
        application_schema="app",
        region=region,
        actor="alice",
    )


async def create(
    store: Store, tenant: TenantId, tier: Tier, *, region: str | None = None, cluster: str | None = None
) -> Placement:
    return await store.create_tenant(
        tenant, tier, application_schema="app", region=region, cluster=cluster, actor="alice"
    )


async def acts(store: Store) -> list[tuple[str, str]]:
    return [(audited.entry.act, audited.entry.subject) for audited in reversed(await store.audit_entries())]


async def test_a_cluster_is_read_back_with_its_secret(store: Store) -> None:
    added = await add_cluster(store, "eu-1", Tier.STANDARD, "eu")

    assert await store.cluster("eu-1") == added
    assert await store.clusters() == [added]
    assert (added.tier, added.region, added.conninfo, added.database) == (
        Tier.STANDARD,
        "eu",
        CONNINFO,
        "app",
    )
    assert (added.admin_user, added.admin_password) == ("postgres", "s3cret")
    assert "s3cret" not in repr(added)


async def test_no_secret_lies_in_the_registry_in_the_clear(store: Store, database: str) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    place = (await create(store, ACME, Tier.STANDARD)).place
    text, credential = new_key(ACME, [Scope.READ])
    await store.add_credential(credential, actor="alice")

    dump = ""
    for table in ("cluster", "data_database", "place", "tenant", "placement", "credential", "audit"):
        dump += str(await run_sql(database, f"SELECT t::text FROM tiergate_registry.{table} t"))

    assert credential.id in dump
    for secret in ("s3cret", place.password, place.context_key.hex(), text, text.split("_", 2)[2]):
        assert secret not in dump


async def test_another_master_key_does_not_open_the_registry(store: Store, database: str) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)

    async with open_store(settings(database), Vault("another master key")) as stranger:
        with pytest.raises(SecretUnreadable):
            await stranger.clusters()


async def test_a_standard_cluster_has_one_place_that_its_tenants_share(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    acme = await create(store, ACME, Tier.STANDARD)
    umbrella = await create(store, UMBRELLA, Tier.STANDARD)

    [shared] = await store.places("eu-1")
    assert acme.place is umbrella.place is shared.place  # one value in memory, however many live there
    assert (shared.place.login, shared.place.database, shared.place.schema) == ("tiergate_gate", "app", "app")
    assert shared.state is PlaceState.PREPARING


async def test_a_premium_tenant_has_a_schema_and_a_login_of_its_own(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    acme = (await create(store, ACME, Tier.PREMIUM)).place
    umbrella = (await create(store, UMBRELLA, Tier.PREMIUM)).place

    assert acme.id.startswith("pl_")
    assert len(acme.id) == 15
    assert (acme.database, acme.schema, acme.login) == ("app", acme.id, acme.id)
    assert acme.id != umbrella.id
    assert acme.password != umbrella.password
    assert acme.context_key == umbrella.context_key == VAULT.context_key("eu-1", "app", 1)


async def test_a_government_tenant_has_a_database_a_login_and_a_context_key_of_its_own(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.GOVERNMENT)
    acme = (await create(store, ACME, Tier.GOVERNMENT)).place
    umbrella = (await create(store, UMBRELLA, Tier.GOVERNMENT)).place

    assert (acme.database, acme.schema, acme.login) == (acme.id, "app", acme.id)
    assert acme.context_key != umbrella.context_key
    assert acme.context_key == VAULT.context_key("eu-1", acme.id, 1)


async def test_a_cluster_may_be_added_again_unchanged_but_not_as_another(store: Store) -> None:
    added = await add_cluster(store, "eu-1", Tier.STANDARD)

    assert await add_cluster(store, "eu-1", Tier.STANDARD) == added
    assert len(await store.places("eu-1")) == 1
    for tier, region in ((Tier.PREMIUM, None), (Tier.STANDARD, "eu")):
        with pytest.raises(ClusterExists):
            await add_cluster(store, "eu-1", tier, region)


async def test_a_cluster_may_move_to_another_address(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    await create(store, ACME, Tier.STANDARD)

    await store.set_cluster_address(
        "eu-1", conninfo="host=10.0.0.2", admin_user="root", admin_password="other", actor="alice"
    )

    placement = await store.route(ACME)
    assert placement is not None
    assert placement.place.conninfo == "host=10.0.0.2"
    assert (await store.cluster("eu-1")).admin_password == "other"
    with pytest.raises(UnknownCluster):
        await store.set_cluster_address(
            "eu-9", conninfo="", admin_user="root", admin_password="other", actor="alice"
        )


@pytest.mark.parametrize(
    ("name", "conninfo", "login_to"),
    [
        ("Eu 1", "host=h", "app"),
        ("a|b", "host=h", "app"),
        ("eu-1", "host=h password=p", "app"),
        ("eu-1", "host=h user=u", "app"),
        ("eu-1", "host=h dbname=d", "app"),
        ("eu-1", "nonsense", "app"),
        ("eu-1", "host=h", ""),
    ],
)
async def test_a_cluster_that_cannot_be_is_refused(
    store: Store, name: str, conninfo: str, login_to: str
) -> None:
    with pytest.raises(BadCluster):
        await store.add_cluster(
            name,
            Tier.STANDARD,
            conninfo=conninfo,
            database=login_to,
            admin_user="postgres",
            admin_password="s3cret",
            application_schema="app",
            actor="alice",
        )

    assert await store.clusters() == []


async def test_a_tenant_is_routed_from_its_creation_on(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD, "eu")
    created = await create(store, ACME, Tier.STANDARD, region="eu")

    assert created.state is TenantState.CREATING
    assert (created.tenant, created.tier, created.region) == (ACME, Tier.STANDARD, "eu")
    assert await store.route(ACME) == created
    assert await store.route(UMBRELLA) is None


async def test_an_interrupted_creation_goes_on_where_it_was(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    created = await create(store, ACME, Tier.PREMIUM)

    assert await create(store, ACME, Tier.PREMIUM) == created
    assert await create(store, ACME, Tier.PREMIUM, cluster="eu-1") == created
    assert len(await store.places("eu-1")) == 1


async def test_creations_of_one_name_at_once_make_one_tenant(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    async with asyncio.TaskGroup() as tasks:
        creations = [tasks.create_task(create(store, ACME, Tier.PREMIUM)) for _ in range(5)]

    assert len({creation.result().place.id for creation in creations}) == 1
    assert len(await store.places("eu-1")) == 1


async def test_a_name_is_taken_once_its_tenant_is_another(store: Store) -> None:
    for name, tier in (("eu-1", Tier.STANDARD), ("eu-2", Tier.PREMIUM), ("eu-3", Tier.STANDARD)):
        await add_cluster(store, name, tier, "eu")
    await create(store, ACME, Tier.STANDARD)

    for tier, region, cluster in (
        (Tier.PREMIUM, None, None),
        (Tier.STANDARD, "eu", None),
        (Tier.STANDARD, None, "eu-3"),
    ):
        with pytest.raises(TenantExists):
            await create(store, ACME, tier, region=region, cluster=cluster)
    [shared] = await store.places("eu-1")
    await store.mark_place_ready(shared.place.id, actor="alice")
    await store.activate(ACME, actor="alice")
    assert (await create(store, ACME, Tier.STANDARD)).state is TenantState.ACTIVE
    with pytest.raises(TenantExists, match="its tier is standard, not premium"):
        await create(store, ACME, Tier.PREMIUM)
    await store.set_state(ACME, TenantState.SUSPENDED, actor="alice")
    with pytest.raises(TenantExists, match="it is suspended"):
        await create(store, ACME, Tier.STANDARD)


async def test_a_cluster_that_was_not_made_ready_is_the_last_to_be_chosen(store: Store) -> None:
    for name in ("eu-1", "eu-2"):
        await add_cluster(store, name, Tier.STANDARD)
    [shared] = await store.places("eu-2")
    await store.mark_place_ready(shared.place.id, actor="alice")

    placements = [await create(store, tenant, Tier.STANDARD) for tenant in (ACME, UMBRELLA)]

    assert [each.place.cluster for each in placements] == ["eu-2", "eu-2"]


async def test_a_registry_is_told_from_another_and_from_itself_under_another_key(
    store: Store, database: str, postgres: Server
) -> None:
    async with open_database(postgres) as elsewhere:
        await migrate(url_of(elsewhere), VAULT)
        async with (
            open_store(settings(database), VAULT) as same,
            open_store(settings(database), Vault("another master key")) as other_key,
            open_store(settings(elsewhere), VAULT) as other_registry,
        ):
            prints = [await each.fingerprint() for each in (store, same, other_key, other_registry)]

    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


async def test_epochs_grow_and_are_never_used_twice(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    first = await create(store, ACME, Tier.STANDARD)
    with pytest.raises(NoCluster):
        await create(store, UMBRELLA, Tier.PREMIUM)
    second = await create(store, UMBRELLA, Tier.STANDARD)

    assert second.epoch > first.epoch


async def test_a_tenant_goes_to_the_cluster_with_the_fewest(store: Store) -> None:
    for name in ("eu-1", "eu-2"):
        await add_cluster(store, name, Tier.STANDARD)
    await add_cluster(store, "eu-0", Tier.PREMIUM)

    names = [TenantId(f"tenant-{number}") for number in range(6)]
    clusters = [(await create(store, name, Tier.STANDARD)).place.cluster for name in names]

    assert clusters == ["eu-1", "eu-2"] * 3
    assert {cluster.name: cluster.tenants for cluster in await store.clusters()} == {
        "eu-0": 0,
        "eu-1": 3,
        "eu-2": 3,
    }


async def test_a_tenant_that_must_stay_in_a_region_is_placed_nowhere_else(store: Store) -> None:
    await add_cluster(store, "anywhere-1", Tier.STANDARD)
    await add_cluster(store, "us-1", Tier.STANDARD, "us")

    with pytest.raises(NoCluster):
        await create(store, ACME, Tier.STANDARD, region="eu")
    for cluster in ("us-1", "anywhere-1"):
        with pytest.raises(ResidencyViolated):
            await create(store, ACME, Tier.STANDARD, region="eu", cluster=cluster)
    assert await store.route(ACME) is None

    await add_cluster(store, "eu-1", Tier.STANDARD, "eu")
    assert (await create(store, ACME, Tier.STANDARD, region="eu")).place.cluster == "eu-1"


async def test_a_cluster_that_is_named_must_be_there_and_of_the_tier(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)

    with pytest.raises(UnknownCluster):
        await create(store, ACME, Tier.STANDARD, cluster="eu-9")
    with pytest.raises(WrongTier):
        await create(store, ACME, Tier.STANDARD, cluster="eu-1")


async def test_a_tenant_lives_through_its_states(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    placement = await create(store, ACME, Tier.PREMIUM)
    with pytest.raises(WrongState):
        await store.activate(ACME, actor="alice")
    with pytest.raises(WrongState):
        await store.set_state(ACME, TenantState.SUSPENDED, actor="alice")

    await store.mark_place_ready(placement.place.id, actor="alice")
    for _ in range(2):
        await store.activate(ACME, actor="alice")
    for _ in range(2):
        await store.set_state(ACME, TenantState.SUSPENDED, actor="bob")
    with pytest.raises(WrongState):
        await store.activate(ACME, actor="alice")
    suspended = await store.tenant(ACME)
    await store.set_state(ACME, TenantState.ACTIVE, actor="bob")

    assert suspended.state is TenantState.SUSPENDED
    assert await store.route(ACME) == replace(placement, state=TenantState.ACTIVE)
    assert await acts(store) == [
        ("cluster.add", "eu-1"),
        ("tenant.create", "acme"),
        ("place.ready", placement.place.id),
        ("tenant.activate", "acme"),
        ("tenant.suspend", "acme"),
        ("tenant.resume", "acme"),
    ]


async def test_what_is_not_there_is_named_as_such(store: Store) -> None:
    with pytest.raises(UnknownTenant):
        await store.tenant(ACME)
    with pytest.raises(UnknownTenant):
        await store.activate(ACME, actor="alice")
    with pytest.raises(UnknownTenant):
        await store.set_state(ACME, TenantState.ACTIVE, actor="alice")
    with pytest.raises(UnknownCluster):
        await store.cluster("eu-1")
    with pytest.raises(UnknownPlace):
        await store.place(PlaceId("pl_aaaaaaaaaaaa"))
    with pytest.raises(UnknownPlace):
        await store.mark_place_ready(PlaceId("pl_aaaaaaaaaaaa"), actor="alice")
    with pytest.raises(UnknownTenant):
        await store.add_credential(new_key(ACME, [Scope.READ])[1], actor="alice")
    with pytest.raises(UnknownCredential):
        await store.revoke_credential("aaaaaaaaaaaa", actor="alice")
    assert await store.credential("aaaaaaaaaaaa") is None
    assert await acts(store) == []


async def test_tenants_are_listed_by_name_in_pages(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    await add_cluster(store, "eu-2", Tier.PREMIUM)
    for number in range(5):
        await create(store, TenantId(f"t{number}"), Tier.STANDARD)
    placement = await create(store, ACME, Tier.PREMIUM)

    page = await store.tenants(limit=3)

    assert [tenant.name for tenant in page] == ["acme", "t0", "t1"]
    assert [tenant.name for tenant in await store.tenants(after="t1")] == ["t2", "t3", "t4"]
    [premium] = await store.tenants(tier=Tier.PREMIUM)
    assert (premium.cluster, premium.place, premium.epoch) == ("eu-2", placement.place.id, placement.epoch)


async def test_a_place_is_found_by_its_id(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    place = (await create(store, ACME, Tier.PREMIUM)).place
    for _ in range(2):
        await store.mark_place_ready(place.id, actor="alice")

    known = await store.place(place.id)

    assert (known.place, known.state) == (place, PlaceState.READY)


async def test_a_key_is_kept_expired_and_revoked(store: Store) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    await create(store, ACME, Tier.STANDARD)
    _, old = new_key(ACME, [Scope.READ, Scope.WRITE])
    _, new = new_key(ACME, [Scope.READ])
    _, anyone = new_key(None, [Scope.READ])
    for credential in (old, new, anyone):
        await store.add_credential(credential, note="for the tests", actor="alice")
    assert await store.credential(old.id) == old

    at = datetime.now(UTC) + timedelta(hours=1)
    await store.expire_credential(old.id, at, actor="alice")
    assert await store.credential(old.id) == replace(old, expires_at=at)
    for _ in range(2):
        await store.revoke_credential(old.id, actor="alice")
    with pytest.raises(UnknownCredential):
        await store.expire_credential(old.id, at, actor="alice")

    revoked = await store.credential(old.id)
    assert revoked is not None
    assert not revoked.is_valid(datetime.now(UTC) + timedelta(seconds=1))
    assert [(known.credential.id, known.note) for known in await store.credentials(ACME)] == [
        (old.id, "for the tests"),
        (new.id, "for the tests"),
    ]
    assert [known.credential for known in await store.credentials(None)] == [anyone]


async def test_the_last_use_of_a_key_is_written_once_an_hour(store: Store, database: str) -> None:
    _, credential = new_key(None, [Scope.READ])
    await store.add_credential(credential, actor="alice")

    async def last_used() -> datetime | None:
        return (await store.credentials(None))[0].last_used_at

    assert await last_used() is None
    await store.touch_credentials([credential.id, "aaaaaaaaaaaa"])
    first = await last_used()
    await store.touch_credentials([credential.id])
    assert first is not None
    assert await last_used() == first

    await run_sql(
        database, "UPDATE tiergate_registry.credential SET last_used_at = now() - interval '61 minutes'"
    )
    await store.touch_credentials([credential.id])
    assert (await last_used() or first) > first - timedelta(minutes=1)


async def test_the_audit_is_read_newest_first_in_pages(store: Store) -> None:
    for number in range(5):
        await store.record(
            Entry("alice", "gateway.reload", f"g{number}", "registry-failed", {"why": ["x", None]})
        )

    newest = await store.audit_entries(limit=2)
    older = await store.audit_entries(2, Asked(before=newest[-1].id))

    assert [audited.entry.subject for audited in newest + older] == ["g4", "g3", "g2", "g1"]
    assert newest[0].entry == Entry("alice", "gateway.reload", "g4", "registry-failed", {"why": ["x", None]})


async def test_a_change_that_fails_leaves_no_trace(store: Store, database: str) -> None:
    await add_cluster(store, "eu-1", Tier.STANDARD)
    await run_sql(database, "ALTER TABLE tiergate_registry.audit ADD CHECK (act <> 'tenant.create')")

    with pytest.raises(RegistryFailed):
        await create(store, ACME, Tier.STANDARD)

    assert await store.route(ACME) is None


async def test_every_change_is_told_to_every_gateway_after_it_has_committed(
    store: Store, database: str
) -> None:
    heard: list[str] = []
    listener = await asyncpg.connect(url_of(database))
    await listener.add_listener(CHANNEL, lambda *said: heard.append(said[3]))
    await add_cluster(store, "eu-1", Tier.PREMIUM)
    placement = await create(store, ACME, Tier.PREMIUM)
    await store.mark_place_ready(placement.place.id, actor="alice")
    await store.activate(ACME, actor="alice")
    await store.set_state(ACME, TenantState.SUSPENDED, actor="alice")
    _, credential = new_key(ACME, [Scope.READ])
    await store.add_credential(credential, actor="alice")
    await store.expire_credential(credential.id, datetime.now(UTC), actor="alice")
    await store.revoke_credential(credential.id, actor="alice")
    with pytest.raises(WrongState):
        await store.activate(ACME, actor="alice")
    await listener.execute("SELECT 1")  # what was notified before comes before its answer
    await listener.close()

    tenant, key = '{"tenant": "acme"}', f'{{"credential": "{credential.id}"}}'
    assert heard == ['{"all": true}', tenant, tenant, tenant, tenant, key, key, key]


async def test_a_replica_of_a_cluster_that_was_removed_meanwhile_is_refused(store: Store) -> None:
    """It was looked at, which takes a while, and then the registry failed."""
    await add_cluster(store, "going", Tier.PREMIUM)
    await store.remove_cluster("going", actor="ann")
    with pytest.raises(UnknownCluster):
        await store.put_replica("going", Replica("r1", CONNINFO), actor="ann")


async def test_a_cluster_that_is_being_removed_takes_no_replica(store: Store, database: str) -> None:
    await add_cluster(store, "going", Tier.PREMIUM)
    async with open_admin(database) as admin, admin.transaction():
        await admin.execute("DELETE FROM tiergate_registry.data_database WHERE cluster = 'going'")
        await admin.execute("DELETE FROM tiergate_registry.cluster WHERE name = 'going'")
        adding = asyncio.create_task(store.put_replica("going", Replica("r1", CONNINFO), actor="ann"))

        async def waits() -> bool:
            asked = (
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return await (await admin.execute(asked)).fetchone() is not None

        await wait_until(waits, what="the replica to wait for the cluster")
    with pytest.raises(UnknownCluster):
        await adding
