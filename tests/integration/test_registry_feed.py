"""A change made through one gateway is heard by the others; what is missed is doubted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from config.settings import Registry
from registry.credentials import Keys, Scope, new_key, open_keys
from registry.directory import Directory, open_directory
from registry.errors import UnknownKey, UnknownTenant
from registry.feed import Feed
from registry.limits import Limits
from registry.migrations import migrate
from registry.placement import TenantState
from registry.records import PlaceState
from registry.store import Store, open_store
from registry.tables import CHANNEL
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tests.support.waiting import hold_within
from tiergate.deadline import Deadline
from tiergate.events import Event, RegistryFound, RegistryLost
from tiergate.tenant import TenantId, Tier

ACME = TenantId("acme")
VAULT = Vault("a master key of the tests")
NEVER_S = 3600.0
LISTENERS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE application_name = 'tiergate-feed' AND datname = current_database()"
)
HANG_UP = f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) listeners"


def soon() -> Deadline:
    return Deadline.after(10)


def settings(database: str) -> Registry:
    return Registry(
        url=url_of(database),
        pool_size=5,
        timeout_s=10,
        cache_size=100,
        ttl_s=NEVER_S,
        negative_ttl_s=NEVER_S,
        stale_for_s=NEVER_S,
    )


@dataclass
class Told:
    """The events of a gateway, and a way to wait for one."""

    events: list[Event] = field(default_factory=list)
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.bell.set()

    async def wait_for(self, kind: type[Event], times: int) -> None:
        async with asyncio.timeout(10):
            while sum(isinstance(event, kind) for event in self.events) < times:
                self.bell.clear()
                await self.bell.wait()


class Ear:
    """Stands before a directory or keys, and rings when something was forgotten."""

    def __init__(self, inner: Directory | Keys) -> None:
        self.inner = inner
        self.forgotten: list[str] = []
        self.bell = asyncio.Event()
        self.doubts = 0

    def forget(self, name: str) -> None:
        self.inner.forget(TenantId(name))
        self.forgotten.append(name)
        self.bell.set()

    def doubt(self) -> None:
        self.inner.doubt()
        self.doubts += 1
        self.bell.set()

    async def wait_forgotten(self, name: str) -> None:
        async with asyncio.timeout(10):
            while name not in self.forgotten:
                self.bell.clear()
                await self.bell.wait()


class Deaf:
    """Has nothing to forget."""

    def forget(self, name: str) -> None: ...

    def doubt(self) -> None: ...


@dataclass
class Gateway:
    store: Store
    directory: Directory
    keys: Keys
    directory_ear: Ear
    keys_ear: Ear
    told: Told
    feed: Feed


@asynccontextmanager
async def open_gateway(database: str) -> AsyncIterator[Gateway]:
    registry, told = settings(database), Told()
    limits = Limits.of(registry)
    async with (
        open_store(registry, VAULT) as store,
        open_directory(store, limits, emit=told) as directory,
        open_keys(store, limits, emit=told) as keys,
        asyncio.TaskGroup() as tasks,
    ):
        ears = Ear(directory), Ear(keys)
        feed = Feed(registry.url, *ears, emit=told, heartbeat_s=0.2)
        listening = tasks.create_task(feed.run())
        await told.wait_for(RegistryFound, 1)
        yield Gateway(store, directory, keys, *ears, told, feed)
        listening.cancel()


@dataclass
class Two:
    here: Gateway
    there: Gateway


@pytest.fixture
async def gateways(database: str) -> AsyncIterator[Two]:
    await migrate(url_of(database), VAULT)
    async with open_gateway(database) as here, open_gateway(database) as there:
        await here.store.add_cluster(
            "eu-1",
            Tier.STANDARD,
            conninfo="host=h",
            database="app",
            admin_user="postgres",
            admin_password="s3cret",
            application_schema="app",
            actor="alice",
        )
        [shared] = await here.store.places("eu-1")
        assert shared.state is PlaceState.PREPARING
        await here.store.mark_place_ready(shared.place.id, actor="alice")
        yield Two(here, there)


async def create(gateway: Gateway) -> None:
    await gateway.store.create_tenant(ACME, Tier.STANDARD, application_schema="app", actor="alice")
    await gateway.store.activate(ACME, actor="alice")


async def test_a_tenant_that_was_unknown_is_known_once_it_is_created_elsewhere(gateways: Two) -> None:
    with pytest.raises(UnknownTenant):
        await gateways.there.directory.locate(ACME, soon())

    await create(gateways.here)
    await gateways.there.directory_ear.wait_forgotten(ACME)

    assert (await gateways.there.directory.locate(ACME, soon())).tenant == ACME


async def test_a_suspension_is_seen_by_another_gateway_within_100_ms(gateways: Two) -> None:
    await create(gateways.here)
    there = gateways.there

    async def is_seen(state: TenantState) -> None:
        async with asyncio.timeout(10):
            while True:
                there.directory_ear.bell.clear()
                if (await there.directory.locate(ACME, soon())).state is state:
                    return
                await there.directory_ear.bell.wait()

    async def timed() -> float:
        await is_seen(TenantState.ACTIVE)
        started_s = time.monotonic()
        await gateways.here.store.set_state(ACME, TenantState.SUSPENDED, actor="alice")
        await is_seen(TenantState.SUSPENDED)
        took_s = time.monotonic() - started_s
        await gateways.here.store.set_state(ACME, TenantState.ACTIVE, actor="alice")
        return took_s

    await hold_within(0.1, timed, what="a suspension to be seen")


async def test_a_revocation_is_seen_by_another_gateway_within_100_ms(gateways: Two) -> None:
    await create(gateways.here)

    async def timed() -> float:
        text, credential = new_key(ACME, [Scope.READ])
        await gateways.here.store.add_credential(credential, actor="alice")
        await gateways.there.keys_ear.wait_forgotten(credential.id)
        await gateways.there.keys.check(text, soon())
        gateways.there.keys_ear.forgotten.clear()
        started_s = time.monotonic()

        await gateways.here.store.revoke_credential(credential.id, actor="alice")
        await gateways.there.keys_ear.wait_forgotten(credential.id)
        assert gateways.there.keys.check_now(text) is None
        took_s = time.monotonic() - started_s
        with pytest.raises(UnknownKey):
            await gateways.there.keys.check(text, soon())
        return took_s

    await hold_within(0.1, timed, what="a revocation to be seen")


async def test_after_a_lost_connection_nothing_is_believed_and_changes_are_heard_again(
    gateways: Two, database: str
) -> None:
    await create(gateways.here)
    there = gateways.there
    await there.directory.locate(ACME, soon())

    await run_sql(
        database,
        HANG_UP,
    )
    await there.told.wait_for(RegistryLost, 1)
    assert there.directory.locate_now(ACME) is None
    await there.told.wait_for(RegistryFound, 2)
    await gateways.here.told.wait_for(RegistryFound, 2)

    await there.directory.locate(ACME, soon())
    there.directory_ear.forgotten.clear()
    await gateways.here.store.set_state(ACME, TenantState.SUSPENDED, actor="alice")
    await there.directory_ear.wait_forgotten(ACME)
    assert (await there.directory.locate(ACME, soon())).state is TenantState.SUSPENDED


async def test_what_changed_while_nobody_listened_is_read_anew(gateways: Two, database: str) -> None:
    await create(gateways.here)
    there = gateways.there
    await there.directory.locate(ACME, soon())

    # The change goes unheard, as it would while the connection is down.
    await run_sql(
        database,
        "UPDATE tiergate_registry.tenant SET state = 'suspended'",
        HANG_UP,
    )
    await there.told.wait_for(RegistryFound, 2)

    assert (await there.directory.locate(ACME, soon())).state is TenantState.SUSPENDED


@pytest.mark.parametrize(
    "payload", ['{"all": true}', "", "not json", '{"tenant": 1}', '["acme"]', '{"later": 1}']
)
async def test_what_is_not_understood_is_taken_for_everything(
    gateways: Two, database: str, payload: str
) -> None:
    await create(gateways.here)
    there = gateways.there
    await there.directory.locate(ACME, soon())
    doubts = there.directory_ear.doubts

    await run_sql(database, f"SELECT pg_notify('{CHANNEL}', '{payload}')")
    async with asyncio.timeout(10):
        while there.directory_ear.doubts == doubts:
            there.directory_ear.bell.clear()
            await there.directory_ear.bell.wait()

    assert there.directory.locate_now(ACME) is None


async def test_a_registry_that_cannot_be_reached_is_lost_once_however_often_it_is_dialled() -> None:
    told = Told()
    feed = Feed("postgresql://u:p@127.0.0.1:1/d", Deaf(), Deaf(), emit=told)

    lives = [await feed.run_once() for _ in range(3)]

    assert [life.was_listening for life in lives] == [False] * 3
    assert len(told.events) == 1
    assert isinstance(told.events[0], RegistryLost)
    assert not feed.is_listening


async def test_what_was_read_before_anybody_listened_is_read_anew(gateways: Two, database: str) -> None:
    await create(gateways.here)
    told = Told()
    async with (
        open_directory(gateways.here.store, Limits.of(settings(database)), emit=told) as directory,
        asyncio.TaskGroup() as tasks,
    ):
        await directory.locate(ACME, soon())
        await run_sql(database, "UPDATE tiergate_registry.tenant SET state = 'suspended'")
        assert directory.locate_now(ACME) is not None

        life = tasks.create_task(Feed(url_of(database), directory, Deaf(), emit=told).run_once())
        await told.wait_for(RegistryFound, 1)

        assert directory.locate_now(ACME) is None
        life.cancel()


async def test_run_once_ends_with_the_connection_and_says_what_it_heard(gateways: Two, database: str) -> None:
    told = Told()
    directory = gateways.here.directory_ear
    feed = Feed(url_of(database), directory, gateways.here.keys_ear, emit=told, heartbeat_s=0.1)
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(feed.run_once())
        await told.wait_for(RegistryFound, 1)
        assert feed.is_listening
        await run_sql(database, f"SELECT pg_notify('{CHANNEL}', '{{\"tenant\": \"acme\"}}')")
        await directory.wait_forgotten("acme")
        await run_sql(
            database,
            HANG_UP,
        )

    assert life.result().was_listening
    assert life.result().notifications >= 1


async def test_a_cancelled_feed_leaves_no_connection_behind(database: str) -> None:
    await migrate(url_of(database), VAULT)
    async with open_gateway(database) as gateway:
        pass

    assert not gateway.feed.is_listening
    async with asyncio.timeout(10):  # the server notices in its own time
        while await run_sql(database, LISTENERS):
            pass
