"""A registry that is slow, silent or gone: every wait is bounded, and what was known goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from psycopg.conninfo import conninfo_to_dict

from config.settings import Registry
from registry.directory import open_directory
from registry.errors import RegistryUnavailable
from registry.feed import Feed
from registry.limits import Limits
from registry.migrations import migrate
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tiergate.deadline import Deadline
from tiergate.events import Event, RegistryLost
from tiergate.tenant import TenantId, Tier

ACME = TenantId("acme")
VAULT = Vault("a master key of the tests")


@dataclass
class Wire:
    """The way to a server, which counts round trips, and can swallow everything or be cut.

    Attributes:
        round_trips: How often the client spoke after the server had.
        is_silent: Bytes vanish, as when a host drops off the network.
        carried: Connections so far.
        buried: So many of them, the oldest, stay silent for ever.
    """

    host: str
    port: int
    round_trips: int = 0
    is_silent: bool = False
    carried: int = 0
    buried: int = 0
    swallowed: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self.host, self.port)
        self.writers += [writer, there_writer]
        self.carried += 1
        number = self.carried
        has_answered = True

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
            nonlocal has_answered
            try:
                while data := await source.read(65536):
                    if self.is_silent or number <= self.buried:
                        self.swallowed.set()
                        continue
                    self.round_trips += asks and has_answered
                    has_answered = not asks
                    sink.write(data)
            except OSError:
                pass
            sink.close()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(reader, there_writer, asks=True))
            tasks.create_task(pump(there_reader, writer, asks=False))

    def cut(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()


@asynccontextmanager
async def open_wire(conninfo: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server of *conninfo*, and the URL that leads through it."""
    parts = conninfo_to_dict(conninfo)
    wire = Wire(str(parts["host"]), int(str(parts["port"])))
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield wire, url_of(conninfo).replace(f":{wire.port}/", f":{port}/")
    finally:
        server.close()
        wire.cut()


def settings(url: str, *, timeout_s: float = 5, ttl_s: float = 60, pool_size: int = 2) -> Registry:
    return Registry(
        url=url,
        pool_size=pool_size,
        timeout_s=timeout_s,
        cache_size=100,
        ttl_s=ttl_s,
        negative_ttl_s=5,
        stale_for_s=600,
    )


async def add_acme(store: Store) -> None:
    await store.add_cluster(
        "eu-1",
        Tier.STANDARD,
        conninfo="host=h",
        database="app",
        admin_user="postgres",
        admin_password="s3cret",
        application_schema="app",
        actor="alice",
    )
    await store.create_tenant(ACME, Tier.STANDARD, application_schema="app", actor="alice")


@pytest.fixture
async def wired(database: str) -> AsyncIterator[tuple[Wire, str]]:
    await migrate(url_of(database), VAULT)
    async with open_store(settings(url_of(database)), VAULT) as store:
        await add_acme(store)
    async with open_wire(database) as wired:
        yield wired


async def test_a_route_costs_one_round_trip(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    async with open_store(settings(url, pool_size=1), VAULT) as store:
        await store.route(ACME)
        before = wire.round_trips

        for _ in range(3):
            await store.route(ACME)

        assert wire.round_trips - before == 3


async def test_a_registry_that_falls_silent_is_given_up_in_time(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    async with open_store(settings(url, timeout_s=1), VAULT) as store:
        await store.route(ACME)
        wire.is_silent = True
        started_s = time.monotonic()

        with pytest.raises(RegistryUnavailable):
            await store.route(ACME)

        assert wire.swallowed.is_set()
        assert time.monotonic() - started_s < 2.2


async def test_a_deadline_shorter_than_the_timeout_holds(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    async with open_store(settings(url, timeout_s=60), VAULT) as store:
        await store.route(ACME)
        wire.is_silent = True
        started_s = time.monotonic()

        with pytest.raises(RegistryUnavailable):
            await store.route(ACME, Deadline.after(0.1))

        assert time.monotonic() - started_s < 1.5


async def test_after_a_silence_no_connection_of_before_is_used(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    async with open_store(settings(url, timeout_s=1, pool_size=3), VAULT) as store:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(store.route(ACME))
        assert wire.carried == 3
        wire.buried = 3

        with pytest.raises(RegistryUnavailable):
            await store.route(ACME)
        async with asyncio.TaskGroup() as tasks:
            routes = [tasks.create_task(store.route(ACME)) for _ in range(3)]

        assert None not in {route.result() for route in routes}


async def test_a_connection_that_the_server_closed_is_replaced_unnoticed(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    async with open_store(settings(url), VAULT) as store:
        await store.route(ACME)
        async with store._reader.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        closed = asyncio.Event()
        driver.add_termination_listener(lambda _driver: closed.set())
        wire.cut()
        async with asyncio.timeout(10):
            await closed.wait()

        assert await store.route(ACME) is not None


async def test_a_registry_that_refuses_connections_is_unavailable() -> None:
    async with open_store(settings("postgresql://u:p@127.0.0.1:1/d"), VAULT) as store:
        with pytest.raises(RegistryUnavailable):
            await store.route(ACME)


async def test_a_registry_that_accepts_and_never_answers_is_unavailable(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    wire.is_silent = True
    async with open_store(settings(url, timeout_s=0.2), VAULT) as store:
        with pytest.raises(RegistryUnavailable):
            await store.route(ACME)


async def test_a_wrong_password_is_unavailable_and_not_shown(wired: tuple[Wire, str]) -> None:
    _, url = wired
    scheme, _, rest = url.partition("://")
    wrong = f"{scheme}://postgres:n0t-it@{rest.rpartition('@')[2]}"
    async with open_store(settings(wrong), VAULT) as store:
        with pytest.raises(RegistryUnavailable) as refused:
            await store.route(ACME)

    assert "n0t-it" not in str(refused.value)


async def test_a_full_pool_makes_nobody_wait_for_ever(wired: tuple[Wire, str]) -> None:
    _, url = wired
    async with (
        open_store(settings(url, timeout_s=1, pool_size=1), VAULT) as store,
        AsyncExitStack() as held,
    ):
        await held.enter_async_context(store._reader.connect())
        with pytest.raises(RegistryUnavailable):
            await store.route(ACME)


async def test_a_slow_statement_is_ended_by_the_server_and_costs_no_connection(
    wired: tuple[Wire, str], database: str
) -> None:
    wire, url = wired
    async with open_store(settings(url, timeout_s=1, pool_size=1), VAULT) as store:
        await store.route(ACME)
        dialled = wire.carried
        async with AsyncExitStack() as held:
            other = await held.enter_async_context(open_store(settings(url_of(database)), VAULT))
            locking = await held.enter_async_context(other._writer.begin())
            await locking.exec_driver_sql("LOCK TABLE tiergate_registry.tenant")
            with pytest.raises(RegistryUnavailable, match="statement timeout"):
                await store.route(ACME)

        assert await store.route(ACME) is not None
        assert wire.carried == dialled


async def test_what_was_known_goes_on_while_the_registry_is_gone(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    registry = settings(url, timeout_s=1)
    async with (
        open_store(registry, VAULT) as store,
        open_directory(store, Limits.of(registry), emit=lambda _event: None) as directory,
    ):
        known = await directory.locate(ACME, Deadline.after(5))
        wire.is_silent = True
        directory.doubt()

        assert await directory.locate(ACME, Deadline.after(5)) == known
        with pytest.raises(RegistryUnavailable):
            await directory.locate(TenantId("umbrella"), Deadline.after(5))


async def test_the_feed_notices_a_peer_that_vanished_without_a_word(wired: tuple[Wire, str]) -> None:
    wire, url = wired
    told: list[Event] = []
    listening = asyncio.Event()

    def emit(event: Event) -> None:
        told.append(event)
        listening.set()

    registry = settings(url)
    async with (
        open_store(registry, VAULT) as store,
        open_directory(store, Limits.of(registry), emit=lambda _event: None) as directory,
        asyncio.TaskGroup() as tasks,
    ):
        feed = Feed(url, directory, directory, emit=emit, timeout_s=1, heartbeat_s=0.1)  # type: ignore[arg-type]
        life = tasks.create_task(feed.run_once())
        async with asyncio.timeout(10):
            await listening.wait()
            wire.is_silent = True
            ended = await life

    assert ended.was_listening
    assert "no answer" in ended.ended
    assert isinstance(told[-1], RegistryLost)


async def test_connections_name_themselves_and_bound_their_statements(
    wired: tuple[Wire, str], database: str
) -> None:
    _, url = wired
    async with open_store(settings(url, timeout_s=2), VAULT) as store, store._reader.connect() as connection:
        limit = (await connection.exec_driver_sql("SHOW statement_timeout")).scalar_one()
        named = await run_sql(
            database,
            "SELECT DISTINCT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )

    assert limit == "1500ms"
    assert named == [("tiergate-registry",)]
