"""Who is served, fails and waits now is told at once, by the word of those who were heard of lately."""

import httpx

from observe.busiest import Load
from observe.lately import Recent, Span
from registry.orders import Holdings, Process
from tests.support.operators import World, error

HERE = Process("one", "host:8080", "", 1, "0.1.0", forget_after_s=600)
THERE = Process("two", "other:8080", "", 1, "0.1.0", forget_after_s=600)
OLD = Process("old", "old:8080", "", 1, "0.0.9", forget_after_s=600)


async def test_all_processes_are_added_up_and_who_tells_nothing_is_counted(
    ready: httpx.AsyncClient, world: World
) -> None:
    acme = Recent("acme", "standard", "standard-1", 50, 5, 10.0, 1.0, 2, 0.5, "queue-full")
    await world.store.beat(HERE, Holdings(), {}, Load(lately=Span(5.0, (acme, Recent("other", waiting=1)))))
    await world.store.beat(THERE, Holdings(), {}, Load(lately=Span(5.0, (acme,))))
    await world.store.beat(OLD, Holdings(), {})

    told = (await ready.get("/busiest")).json()
    assert (told["processes"], told["untold"], told["over_s"]) == (2, 1, 5.0)
    assert told["tenants"][0] == {
        "tenant": "acme", "tier": "standard", "cluster": "standard-1", "requests_per_s": 20.0,
        "errors_per_s": 2.0, "connections": 4.0, "waited_s": 0.4, "waiting": 4, "oldest_s": 0.5,
        "error": "queue-full",
    }  # fmt: skip
    assert [each["tenant"] for each in told["tenants"]] == ["acme", "other"]
    assert len((await ready.get("/busiest?limit=1")).json()["tenants"]) == 1
    assert error(await ready.get("/busiest?limit=0"))["code"] == "body-invalid"
