"""The busiest tenants are known within a bound, in bounded memory, and of all processes together."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from observe.busiest import HALF_LIFE_S, REQUEST_S, Busiest, Busy, Load, Work
from registry.load import merge, read_load
from tiergate.events import LoopFailed, RequestAnswered
from tiergate.tenant import TenantId, Tier

MOST = 4


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def answered(
    tenant: str | None, cluster: str | None = "c", *, database_s: float = 0.0, queue_s: float = 0.0
) -> RequestAnswered:
    who = None if tenant is None else TenantId(tenant)
    return RequestAnswered(
        "r", who, Tier.STANDARD, "ok", 200, 0.0, queue_s, 0.0, database_s, 0.1, cluster=cluster
    )


def fold(busiest: Busiest, tenants: Iterable[str], cluster: str = "c") -> Busiest:
    for tenant in tenants:
        busiest(answered(tenant, cluster))
    return busiest


def counted(load: Load) -> dict[str, float]:
    return {busy.tenant: busy.done.requests for busy in load.tenants}


def test_few_tenants_are_counted_exactly() -> None:
    busiest = Busiest(now=Clock())
    busiest(answered("acme", database_s=0.25, queue_s=0.5))
    busiest(answered("acme", database_s=0.25))
    busiest(answered("other"))

    load = busiest.load()
    assert load.tenants == (
        Busy("acme", "c", Work(2, 0.5, 0.5), 0.0),
        Busy("other", "c", Work(1, 0, 0), 0.0),
    )
    assert load.clusters == (("c", Work(3, 0.5, 0.5)),)
    assert load.unlisted_s == 0


def test_who_is_not_known_and_what_is_no_request_counts_for_nobody() -> None:
    busiest = Busiest(now=Clock())
    for event in (answered(None, None), answered("acme", None), LoopFailed("l", "e")):
        busiest(event)

    assert busiest.load() == Load()


@settings(deadline=None)  # how fast the machine is says nothing of memory
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 2)), max_size=300))
def test_memory_is_bounded_and_so_is_what_is_missing(asked: list[tuple[int, float]]) -> None:
    busiest = Busiest(MOST, now=Clock())
    done: defaultdict[str, float] = defaultdict(float)
    for number, database_s in asked:
        busiest(answered(f"t{number}", database_s=database_s))
        done[f"t{number}"] += database_s + REQUEST_S
        assert len(busiest) <= 2 * MOST

    load, rounding_s = busiest.load(), 0.001
    listed = {busy.tenant: busy for busy in load.tenants}
    for tenant, work_s in done.items():
        if (busy := listed.get(tenant)) is not None:
            counted_s = busy.done.work_s
            assert counted_s - rounding_s <= work_s <= counted_s + busy.missed_s + rounding_s
            assert busy.missed_s <= sum(done.values()) / MOST + rounding_s
        else:
            assert work_s <= load.unlisted_s + rounding_s
    assert load.unlisted_s <= sum(done.values()) / MOST + rounding_s
    assert abs(sum(work.work_s for _, work in load.clusters) - sum(done.values())) < rounding_s


def test_who_does_most_is_known_among_ten_thousand_others() -> None:
    asked = ["acme"] * 3000 + [f"t{number}" for number in range(10_000)]
    random.Random(7).shuffle(asked)

    [first, *_] = fold(Busiest(now=Clock()), asked).load().tenants
    assert first.tenant == "acme"
    assert 2900 <= first.done.requests <= 3000


def test_what_is_old_counts_half_after_its_half_life_and_is_forgotten_in_the_end() -> None:
    clock = Clock()
    busiest = fold(Busiest(now=clock), ["acme"] * 8)
    clock.now_s += HALF_LIFE_S
    busiest.load()  # as every few seconds
    fold(busiest, ["other"] * 8)

    assert counted(busiest.load()) == {"other": 8, "acme": 4}
    clock.now_s += 60 * HALF_LIFE_S
    assert (busiest.load().tenants, busiest.load().clusters) == ((), ())


def test_an_even_pace_is_told_as_it_is_however_long_it_lasts() -> None:
    clock = Clock()
    busiest = Busiest(now=clock)
    paces = []
    for _ in range(1000):
        clock.now_s += 10
        fold(busiest, ["acme"] * 20)
        load = busiest.load()
        paces.append(load.clusters[0][1].requests / load.over_s)

    assert min(paces[1:]) > 1.99
    assert max(paces[10:]) < 2.03


def test_who_has_moved_is_counted_anew() -> None:
    busiest = fold(Busiest(now=Clock()), ["acme"] * 5, "old")
    fold(busiest, ["acme"] * 2, "new")

    load = busiest.load()
    assert [(busy.cluster, busy.done.requests) for busy in load.tenants] == [("new", 2)]
    assert {name: work.requests for name, work in load.clusters} == {"old": 5, "new": 2}


def test_no_cluster_keeps_the_busiest_of_another_from_being_told() -> None:
    busiest = Busiest(now=Clock())
    for number in range(100):
        fold(busiest, [f"t{number}"] * 50, "large")
    fold(busiest, ["acme"], "small")

    load = busiest.load()
    assert len(load.tenants) == 50
    assert "acme" in counted(load)
    assert load.unlisted_s == 50 * REQUEST_S


def test_a_load_is_read_as_it_was_written() -> None:
    load = fold(Busiest(MOST, now=Clock()), [f"t{number % 13}" for number in range(99)]).load()

    assert read_load(json.loads(json.dumps(asdict(load)))) == load


def test_all_processes_make_one_whole() -> None:
    one = Load(
        10.0, (("c", Work(90, 5, 1)), ("d", Work(1, 0, 0))), (Busy("acme", "c", Work(80, 4, 1), 0.0),), 0.0
    )
    two = Load(20.0, (("c", Work(10, 5, 0)),), (Busy("acme", "c", Work(1, 2, 0), 0.25),), 0.5)

    whole = merge([one, two])
    acme = whole.tenants["acme", "c"]
    assert (acme.done, acme.connections, acme.missed_s) == (Work(81, 6, 1), 0.5, 0.25)
    assert whole.clusters["c"].done == Work(100, 10, 1)
    assert (whole.processes, whole.over_s) == (2, 20.0)


def test_what_a_process_may_have_done_for_a_tenant_that_it_does_not_list_is_missing() -> None:
    one = Load(10.0, (("c", Work(9, 0, 0)),), (Busy("acme", "c", Work(9, 0, 0), 0.0),), 0.0)
    busy = Load(10.0, (("c", Work(9, 3, 0)),), (), 0.5)
    elsewhere = replace(busy, clusters=(("d", Work(9, 3, 0)),))

    assert merge([one, busy, elsewhere]).tenants["acme", "c"].missed_s == 0.5
