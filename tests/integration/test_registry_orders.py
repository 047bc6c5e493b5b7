"""The processes that the registry knows of, and what they are told to do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from config.settings import Registry
from registry.credentials import open_keys
from registry.directory import open_directory
from registry.feed import Feed
from registry.limits import Limits
from registry.migrations import migrate
from registry.orders import Answer, Holdings, Kind, Process, Scope, Verb
from registry.placement import PlaceId
from registry.store import Store, open_store
from registry.vault import Vault
from tests.support.postgres import run_sql, url_of
from tests.support.waiting import wait_until

VAULT = Vault("a master key of the tests")
ONE = Process("one", "host:8080", "here", 11, "0.1.0", forget_after_s=600)
TWO = replace(ONE, id="two", pid=12)
ACME = Scope(Kind.TENANT, "acme")


@pytest.fixture
def known(database: str) -> Registry:
    return Registry(
        url=url_of(database),
        pool_size=5,
        timeout_s=10,
        cache_size=10,
        ttl_s=60,
        negative_ttl_s=5,
        stale_for_s=600,
    )


@pytest.fixture
async def store(known: Registry) -> AsyncIterator[Store]:
    await migrate(known.url, VAULT)
    async with open_store(known, VAULT) as store:
        yield store


async def test_a_process_writes_down_what_it_has_and_what_it_answers(store: Store) -> None:
    held = Holdings(({"place": "pl_a", "active": 2},), ({"cluster": "c", "max": 9, "used": 2},), 3)
    await store.beat(ONE, Holdings(), {})
    await store.beat(ONE, held, {7: Answer(done=False, requests=2, oldest_s=1.5)})

    [found] = await store.processes(7, holdings=True)
    assert (found.process, found.holdings, found.is_silent) == (ONE, held, False)
    assert found.answer == Answer(done=False, requests=2, oldest_s=1.5)
    [briefly] = await store.processes(8)
    assert (briefly.holdings, briefly.answer) == (Holdings(), None)


async def test_a_process_that_serves_longer_since_a_reload_is_remembered_longer(store: Store) -> None:
    await store.beat(ONE, Holdings(), {})
    reloaded = replace(ONE, forget_after_s=1200)
    await store.beat(reloaded, Holdings(), {})

    assert [known.process for known in await store.processes()] == [reloaded]


async def test_who_is_silent_is_said_to_be_and_is_forgotten_only_when_it_can_serve_nobody(
    store: Store, database: str
) -> None:
    for process in (ONE, TWO):
        await store.beat(process, Holdings(), {})
    await run_sql(
        database,
        "UPDATE tiergate_registry.gateway_process SET seen_at = now() - interval '599 s' WHERE id = 'two'",
    )

    forgotten, known = await store.forget_processes(), await store.processes()
    assert (forgotten, {each.process.id: each.is_silent for each in known}) == (
        0,
        {"one": False, "two": True},
    )
    await run_sql(
        database,
        "UPDATE tiergate_registry.gateway_process SET seen_at = now() - interval '601 s' WHERE id = 'two'",
    )
    assert await store.forget_processes() == 1
    assert [each.process.id for each in await store.processes()] == ["one"]
    await store.beat(TWO, Holdings(), {})
    assert await store.forget_processes(["two", "three"]) == 1
    await store.leave("one")
    assert await store.processes() == []


async def test_what_was_said_last_stands_for_a_scope_until_it_is_resumed_or_ends(store: Store) -> None:
    async def give(verb: Verb, scope: Scope = ACME, for_s: float = 60) -> int:
        return (await store.give_order(verb, scope, PlaceId("pl_a"), for_s=for_s, actor="ann")).id

    await give(Verb.PAUSE)
    drained = await give(Verb.DRAIN)
    other = await give(Verb.PAUSE, Scope(Kind.CLUSTER, "acme"))
    await give(Verb.PAUSE, Scope(Kind.POOL, "pl_b"), 0.05)

    async def is_over() -> bool:
        return [order.id for order in await store.orders()] == [drained, other]

    await wait_until(is_over, what="the short pause to end")
    first, _ = await store.orders()
    assert (first.verb, first.scope, first.place, first.actor) == (Verb.DRAIN, ACME, "pl_a", "ann")
    assert 50 < first.left_s <= 60
    assert 0 <= first.age_s < 10
    resumed = await give(Verb.RESUME)
    assert [(order.id, order.verb) for order in await store.orders()] == [
        (other, Verb.PAUSE),
        (resumed, Verb.RESUME),
    ]
    assert await store.order(drained) is None
    assert await store.order(other) is not None


async def test_an_order_is_in_the_audit_and_a_look_is_not(store: Store) -> None:
    for verb, scope in (
        (Verb.SHOW, ACME),
        (Verb.PAUSE, ACME),
        (Verb.KILL, Scope(Kind.CLUSTER, "eu")),
    ):
        await store.give_order(verb, scope, None, for_s=1.5, actor="ann")

    written = [each.entry for each in await store.audit_entries()]
    assert [(entry.actor, entry.act, entry.subject, dict(entry.detail)) for entry in written] == [
        ("ann", "order.kill", "cluster eu", {"cluster": "eu"}),
        ("ann", "order.pause", "acme", {"tenant": "acme", "for_s": 2}),
    ]


async def test_a_gateway_hears_of_an_order_at_once_and_takes_it_that_there_are_some_when_it_begins_to_listen(
    store: Store, known: Registry
) -> None:
    heard = asyncio.Event()
    limits = Limits.of(known)
    async with (
        open_directory(store, limits, emit=lambda _: None) as directory,
        open_keys(store, limits, emit=lambda _: None) as keys,
        asyncio.TaskGroup() as tasks,
        asyncio.timeout(20),
    ):
        feed = Feed(known.url, directory, keys, emit=lambda _: None, on_order=heard.set)
        listening = tasks.create_task(feed.run_once())
        await heard.wait()
        heard.clear()
        await store.give_order(Verb.SHOW, ACME, None, for_s=60, actor="ann")
        await heard.wait()
        listening.cancel()


async def test_orders_that_are_given_at_the_same_time_do_not_end_each_other(store: Store) -> None:
    """Each removed what stood for its scope, and then what had ended, also of the others."""
    scopes = [Scope(Kind.TENANT, f"tenant-{number}") for number in range(4)]

    async def give(scope: Scope) -> None:
        for _ in range(25):
            await store.give_order(Verb.PAUSE, scope, None, for_s=0, actor="ann")

    async with asyncio.TaskGroup() as tasks:
        for scope in scopes:
            tasks.create_task(give(scope))

    assert len(await store.audit_entries(1000)) == 25 * len(scopes)
