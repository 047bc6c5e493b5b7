"""What was done for whom in the last few seconds is told whole, in bounded memory, of all processes."""

import json
from dataclasses import asdict, replace
from typing import Any

from admin.busiest import Busiest, busiest
from observe.busiest import Load
from observe.lately import InLine, Lately, Recent, Span
from registry.load import read_load
from tiergate.events import LoopFailed, RequestAnswered
from tiergate.tenant import TenantId, Tier

NOBODY: dict[str, InLine] = {}


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def answered(tenant: str | None, outcome: str = "ok", *, cluster: str | None = "c") -> RequestAnswered:
    who = None if tenant is None else TenantId(tenant)
    return RequestAnswered("r", who, Tier.STANDARD, outcome, 200, 0.0, 0.5, 0.0, 0.25, 1.0, cluster=cluster)


def test_a_span_is_told_once_it_is_over_and_until_the_next_one_is() -> None:
    clock = Clock()
    lately = Lately(now=clock)
    for outcome in ("ok", "pool-exhausted"):
        lately(answered("acme", outcome))
    assert lately.span(NOBODY) == Span()

    clock.now_s += 5
    expected = Recent("acme", "standard", "c", 2, 1, 0.5, 1.0, error="pool-exhausted")
    assert lately.span(NOBODY) == Span(5.0, (expected,))
    lately(answered("other"))
    clock.now_s += 1
    assert lately.span(NOBODY) == Span(5.0, (expected,))
    clock.now_s += 4
    assert [each.tenant for each in lately.span(NOBODY).tenants] == ["other"]


def test_who_waits_is_told_at_once_though_nothing_of_it_was_answered() -> None:
    assert Lately(now=Clock()).span({"acme": InLine("premium", "p", 3, 1.5)}) == Span(
        0.0, (Recent("acme", "premium", "p", waiting=3, oldest_s=1.5),)
    )


def test_only_answers_to_somebody_count_and_a_refusal_without_a_place_leaves_the_place_known() -> None:
    clock = Clock()
    lately = Lately(now=clock)
    for event in (answered(None), answered("acme"), answered("acme", "rate-limited", cluster=None)):
        lately(event)
    lately(LoopFailed(loop="orders", error="x"))
    clock.now_s += 5

    [acme] = lately.span(NOBODY).tenants
    assert (acme.cluster, acme.requests, acme.failed, acme.error) == ("c", 2, 1, "rate-limited")


def test_memory_is_bounded_and_those_who_fail_are_told_among_many_who_do_not() -> None:
    clock = Clock()
    lately = Lately(now=clock)
    for number in range(10_000):
        lately(answered(f"t{number}"))
        lately(answered(f"t{number}"))
    lately(answered("t7", "queue-full"))
    clock.now_s += 5

    assert len(lately) <= 4096
    told = lately.span(NOBODY).tenants
    assert len(told) <= 5 * 32
    assert "t7" in {each.tenant for each in told}


def test_what_a_process_writes_down_is_read_again_by_earlier_and_later_versions() -> None:
    load = Load(lately=Span(5.0, (Recent("acme", "standard", "c", 3, error="paused"),)))
    told: dict[str, Any] = json.loads(json.dumps(asdict(load)))
    later = {**told, "lately": {**told["lately"], "new": 1}}
    later["lately"]["tenants"] = [{**each, "new": 1} for each in told["lately"]["tenants"]]

    assert read_load(told) == read_load(later) == load
    del told["lately"]
    assert read_load(told) == replace(load, lately=Span())


def test_the_paces_of_all_processes_add_up() -> None:
    one = Span(5.0, (Recent("acme", "standard", "c", 50, 5, 10.0, 1.0, 2, 0.5, "queue-full"),))
    two = Span(2.0, (Recent("acme", None, None, 10, 0, 1.0, 0.0, 1, 3.0),))

    assert busiest([one, two], most=9) == [
        Busiest("acme", "standard", "c", 15.0, 1.0, 2.5, 0.2, 3, 3.0, "queue-full")
    ]


def test_who_is_first_in_anything_comes_before_who_is_second_in_everything() -> None:
    span = Span(
        1.0,
        (
            Recent("second", requests=90, failed=9, database_s=9.0, waiting_s=9.0, waiting=9),
            Recent("waits", waiting=10),
            Recent("fails", requests=10, failed=10),
            Recent("asks", requests=100, database_s=10.0, waiting_s=10.0),
        ),
    )

    assert [each.tenant for each in busiest([span], most=3)] == ["asks", "fails", "waits"]
    assert busiest([], most=3) == []


def test_a_process_that_told_nothing_yet_divides_by_nothing() -> None:
    assert busiest([Span(0.0, (Recent("acme", waiting=1),))], most=1) == [Busiest("acme", waiting=1)]
