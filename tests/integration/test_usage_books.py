"""What is written of what tenants use is exact, whatever becomes of the answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from config.settings import Registry
from observe.meter import HOUR_S, Meter, Used
from registry.errors import RegistryUnavailable
from registry.migrations import migrate
from registry.store import Store, open_store
from registry.usage import BATCH_ROWS, Bookkeeper, Mark, Period, Usage, Wanted
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tiergate.events import Event, RequestAnswered
from tiergate.happenings.usage import UsageLost, UsageWritten
from tiergate.tenant import TenantId, Tier

VAULT = Vault("a master key of the tests")
HOUR = datetime(2026, 3, 31, 22, tzinfo=UTC)
ACME, OTHER = TenantId("acme"), TenantId("other")
ONE = Used(ACME, int(HOUR.timestamp()), Tier.STANDARD, 1, 0, 2, 30, 400, 5_000, 6_000)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    known = Registry(
        url=url_of(database), pool_size=5, timeout_s=10, cache_size=10, ttl_s=60, negative_ttl_s=5,
        stale_for_s=600,
    )  # fmt: skip
    await migrate(known.url, VAULT)
    async with open_store(known, VAULT) as store:
        yield store


class Faulty:
    """The registry, whose answers are lost as often as is asked for.

    Attributes:
        deaf: So many writings fail before they come there.
        dumb: After those, so many fail after they were done.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.deaf = self.dumb = 0

    async def write_usage(self, process: str, sequence: int, used: Sequence[Used]) -> bool:
        if self.deaf:
            self.deaf -= 1
            raise RegistryUnavailable("it is gone")
        written = await self._store.write_usage(process, sequence, used)
        if self.dumb:
            self.dumb -= 1
            raise RegistryUnavailable("the answer is lost")
        return written

    async def forget_usage(self, *, keep_days: int) -> int:
        return await self._store.forget_usage(keep_days=keep_days)


class Writing:
    """A process's meter and books, over a registry with faults.

    Attributes:
        now_s: Of both clocks.
    """

    def __init__(self, store: Store, process: str = "p", *, most: int = 50_000) -> None:
        self.registry, self.told, self.now_s = Faulty(store), list[Event](), HOUR.timestamp()
        self.meter = Meter(most, now=lambda: self.now_s)
        self.books = Bookkeeper(
            self.registry, process, self.meter,
            every_s=5, keep_days=400, emit=self.told.append, now=lambda: self.now_s,
        )  # fmt: skip

    def ask(self, *tenants: str, tier: Tier = Tier.STANDARD) -> None:
        for tenant in tenants:
            self.meter(RequestAnswered("r", TenantId(tenant), tier, "ok", 200, 0, 0, 0, 0.002, 0.003, rows=1))

    @property
    def lag_s(self) -> float:
        return next(event.lag_s for event in reversed(self.told) if isinstance(event, UsageWritten))

    @property
    def lost(self) -> int:
        return sum(event.requests for event in self.told if isinstance(event, UsageLost))


async def requests(store: Store, wanted: Wanted = Wanted(Period.HOUR)) -> dict[str, int]:  # noqa: B008 - frozen
    found: dict[str, int] = {}
    for each in await store.usage(wanted, limit=1000):
        found[each.mark.tenant] = found.get(each.mark.tenant, 0) + each.requests
    return found


async def test_what_a_process_has_counted_is_added_to_what_is_there(store: Store) -> None:
    assert await store.write_usage("p", 1, [ONE])
    assert await store.write_usage("p", 2, [ONE, replace(ONE, tier=Tier.PREMIUM)])
    assert await store.write_usage("q", 1, [replace(ONE, failed=1)])

    mark = Mark(ACME, HOUR, Tier.PREMIUM)
    assert await store.usage(Wanted(Period.HOUR), limit=10) == [
        Usage(mark, 1, 0, 2, 30, 400, 5_000, 6_000, None),
        Usage(replace(mark, tier=Tier.STANDARD), 3, 1, 6, 90, 1200, 15_000, 18_000, None),
    ]


async def test_a_batch_that_is_written_again_adds_nothing(store: Store) -> None:
    for sequence in (1, 1, 2, 1, 2):
        assert await store.write_usage("p", sequence, [ONE])

    assert await requests(store) == {"acme": 2}


async def test_a_batch_that_is_written_twice_at_the_same_time_is_added_once(store: Store) -> None:
    for sequence in (1, 2, 3):
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(store.write_usage("p", sequence, [ONE])) for _ in range(4)]
        assert all(each.result() for each in tries)

    assert await requests(store) == {"acme": 3}


async def test_processes_that_write_of_the_same_tenants_do_not_hinder_each_other(store: Store) -> None:
    tenants = [replace(ONE, tenant=TenantId(f"t-{number}")) for number in range(300)]

    async def write(process: int) -> None:
        turned = tenants[process * 50 :] + tenants[: process * 50]
        for sequence in range(1, 6):
            assert await store.write_usage(str(process), sequence, turned)

    async with asyncio.TaskGroup() as tasks:
        for process in range(5):
            tasks.create_task(write(process))

    assert await requests(store) == {each.tenant: 25 for each in tenants}


async def test_what_nobody_can_tell_any_more_is_not_written_and_is_told(store: Store, database: str) -> None:
    writing = Writing(store)
    writing.ask("acme")
    await writing.books.run_once()
    await run_sql(database, "DELETE FROM tiergate_registry.usage_writer")
    writing.ask("acme", "other")
    await writing.books.run_once()

    assert (await requests(store), writing.lost, writing.books.unwritten) == ({"acme": 1}, 2, 0)


async def test_an_answer_that_is_lost_makes_nothing_count_twice_or_not_at_all(store: Store) -> None:
    writing = Writing(store)
    for deaf, dumb in ((0, 1), (1, 1), (0, 2), (1, 0)):
        writing.registry.deaf, writing.registry.dumb = deaf, dumb
        for _ in range(deaf + dumb):
            writing.ask("acme", "other", "acme")
            with pytest.raises(RegistryUnavailable):
                await writing.books.run_once()
    await writing.books.run_once()

    assert (await requests(store), writing.lost) == ({"acme": 12, "other": 6}, 0)


async def test_what_cannot_be_written_is_kept_for_its_hour_and_its_age_is_told(store: Store) -> None:
    writing = Writing(store)
    writing.registry.deaf = 2
    for _ in range(2):
        writing.ask("acme")
        writing.now_s += HOUR_S
        with pytest.raises(RegistryUnavailable):
            await writing.books.run_once()
    assert (writing.lag_s, writing.books.unwritten) == (2 * HOUR_S, 2)
    await writing.books.run_once()

    hours = [(each.mark.period, each.requests) for each in await store.usage(Wanted(Period.HOUR), limit=10)]
    assert hours == [(HOUR, 1), (HOUR + timedelta(hours=1), 1)]
    assert (writing.lag_s, writing.lost) == (0.0, 0)


async def test_what_is_kept_is_bounded_and_what_is_lost_of_it_is_told(store: Store) -> None:
    writing = Writing(store, most=3)
    writing.registry.deaf = 3
    for number in range(3):
        writing.ask("acme", f"t-{number}", f"u-{number}")
        with pytest.raises(RegistryUnavailable):
            await writing.books.run_once()
    await writing.books.run_once()

    written = sum((await requests(store)).values())
    assert (written + writing.lost, writing.books.unwritten) == (9, 0)
    assert writing.lost > 0


async def test_ten_thousand_tenants_are_written_in_many_statements_and_whole(
    store: Store, database: str
) -> None:
    writing = Writing(store)
    writing.ask(*(f"t-{number:05}" for number in range(10_000)))

    assert await writing.books.run_once() == 10_000
    after = Mark(TenantId("t-09998"), HOUR, Tier.STANDARD)
    [last] = await store.usage(Wanted(Period.HOUR, after=after), limit=9)
    assert (last.mark.tenant, last.requests) == ("t-09999", 1)
    numbers = "SELECT sequence FROM tiergate_registry.usage_writer"
    assert await run_sql(database, numbers) == [(10_000 // BATCH_ROWS,)]


async def test_who_ends_writes_what_is_left(store: Store) -> None:
    writing = Writing(store)
    writing.registry.deaf = 1
    writing.ask("acme")
    with pytest.raises(RegistryUnavailable):
        await writing.books.run_once()
    writing.ask("acme", "other")
    await writing.books.close()

    assert (await requests(store), writing.lost) == ({"acme": 2, "other": 1}, 0)


async def test_who_ends_while_the_registry_is_gone_says_what_is_lost(store: Store) -> None:
    writing = Writing(store)
    writing.registry.deaf = 2
    writing.ask("acme")
    with pytest.raises(RegistryUnavailable):
        await writing.books.run_once()
    writing.ask("acme", "other")
    await writing.books.close()

    assert (await requests(store), writing.lost, writing.books.unwritten) == ({}, 3, 0)


async def test_usage_is_added_up_by_days_and_months_of_utc(store: Store) -> None:
    hours = [HOUR, HOUR + timedelta(hours=1), HOUR + timedelta(hours=2), HOUR + timedelta(hours=30)]
    used = [replace(ONE, hour_s=int(hour.timestamp())) for hour in hours]
    await store.write_usage("p", 1, [*used, replace(ONE, tenant=OTHER)])

    async def told(wanted: Wanted) -> list[tuple[str, str, int]]:
        found = await store.usage(wanted, limit=100)
        return [(each.mark.tenant, f"{each.mark.period:%m-%d %H}", each.requests) for each in found]

    days = [
        ("acme", "03-31 00", 2),
        ("acme", "04-01 00", 1),
        ("acme", "04-02 00", 1),
        ("other", "03-31 00", 1),
    ]
    assert await told(Wanted(Period.DAY)) == days
    assert await told(Wanted(Period.MONTH, ACME)) == [("acme", "03-01 00", 2), ("acme", "04-01 00", 2)]
    assert await told(Wanted(Period.MONTH, since=hours[1], until=hours[3])) == [
        ("acme", "03-01 00", 1), ("acme", "04-01 00", 1),
    ]  # fmt: skip
    assert await told(Wanted(Period.DAY, tier=Tier.PREMIUM)) == []


@pytest.mark.parametrize("by", Period)
async def test_pages_are_together_what_there_is(store: Store, by: Period) -> None:
    used = [
        replace(ONE, tenant=TenantId(tenant), tier=tier, hour_s=int(HOUR.timestamp()) + HOUR_S * 13 * hour)
        for tenant in ("acme", "other", "third") for tier in list(Tier)[:2] for hour in range(4)
    ]  # fmt: skip
    await store.write_usage("p", 1, used)
    whole = await store.usage(Wanted(by), limit=100)
    pages: list[Usage] = []
    while page := await store.usage(Wanted(by, after=pages[-1].mark if pages else None), limit=2):
        pages += page

    assert pages == whole
    assert sum(each.requests for each in pages) == len(used)


async def test_what_is_older_than_it_is_kept_is_removed(store: Store, database: str) -> None:
    now = datetime.now(UTC)
    used = [replace(ONE, hour_s=int((now - timedelta(days=days)).timestamp())) for days in (1, 29, 31, 500)]
    await store.write_usage("p", 1, used)
    await store.write_usage("q", 1, [])
    await run_sql(
        database,
        "UPDATE tiergate_registry.usage_writer SET seen_at = now() - interval '31 days' WHERE process = 'q'",
    )

    assert await store.forget_usage(keep_days=30) == 2
    assert await requests(store) == {"acme": 2}
    assert await run_sql(database, "SELECT process FROM tiergate_registry.usage_writer") == [("p",)]
