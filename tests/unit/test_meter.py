"""What tenants use is added up exactly, by the hour and tier, in bounded memory."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observe.meter import HOUR_S, Meter, Used
from tiergate.events import LoopFailed, RequestAnswered
from tiergate.tenant import TenantId, Tier

AT_S = 1_800_000_000 // HOUR_S * HOUR_S
ACME = TenantId("acme")


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def answered(
    tenant: str | None = "acme", tier: Tier | None = Tier.STANDARD, outcome: str = "ok"
) -> RequestAnswered:
    return RequestAnswered(
        "r", None if tenant is None else TenantId(tenant), tier, outcome, 200, 0.1, 0.1, 0.1, 0.25, 1.0,
        cluster="c", rows=3, bytes_in=20, bytes_out=500, stalled_s=0.05,
    )  # fmt: skip


def taken(meter: Meter) -> list[Used]:
    meter.seal()
    return meter.take(1000)


def test_everything_that_a_request_has_used_is_added_up() -> None:
    meter = Meter(now=Clock(AT_S + 5.0))
    meter(answered())
    meter(answered(outcome="statement-failed"))
    meter(LoopFailed("usage", "no request"))

    assert taken(meter) == [Used(ACME, AT_S, Tier.STANDARD, 2, 1, 6, 40, 1000, 400_000, 500_000)]
    assert (taken(meter), len(meter), meter.lost) == ([], 0, 0)


@pytest.mark.parametrize("unknown", [answered(tenant=None), answered(tier=None)])
def test_who_is_not_known_has_used_nothing(unknown: RequestAnswered) -> None:
    meter = Meter(now=Clock(AT_S))
    meter(unknown)

    assert (taken(meter), meter.lost) == ([], 0)


def test_a_request_counts_for_the_hour_and_the_tier_in_which_it_was_answered() -> None:
    clock = Clock(AT_S + HOUR_S - 0.001)
    meter = Meter(now=clock)
    meter(answered())
    clock.now_s = AT_S + HOUR_S
    meter(answered())
    meter(answered(tier=Tier.PREMIUM))
    clock.now_s = AT_S + 1.0  # the wall clock was put back
    meter(answered())

    found = {(each.hour_s, each.tier): each.requests for each in taken(meter)}
    assert found == {
        (AT_S, Tier.STANDARD): 2, (AT_S + HOUR_S, Tier.STANDARD): 1, (AT_S + HOUR_S, Tier.PREMIUM): 1,
    }  # fmt: skip


def test_what_is_sealed_grows_no_more() -> None:
    meter = Meter(now=Clock(AT_S))
    meter(answered())
    meter.seal()
    meter(answered())

    assert [each.requests for each in meter.take(10)] == [1]
    assert meter.take(10) == []
    assert [each.requests for each in taken(meter)] == [1]


def test_what_there_is_no_room_for_is_lost_and_told_and_the_others_go_on() -> None:
    meter = Meter(2, now=Clock(AT_S))
    for tenant in ("one", "two", "three", "one", "three"):
        meter(answered(tenant))

    assert (len(meter), meter.lost) == (2, 2)
    assert {each.tenant: each.requests for each in taken(meter)} == {"one": 2, "two": 1}
    meter(answered("three"))
    assert [each.tenant for each in taken(meter)] == ["three"]


STEPS = st.one_of(st.sampled_from(["a", "b", "c", "d"]), st.just("seal"), st.integers(1, 3), st.just(None))


@given(st.lists(STEPS, max_size=60), st.integers(1, 6))
def test_every_request_is_held_or_taken_or_lost(steps: list[str | int | None], most: int) -> None:
    clock = Clock(float(AT_S))
    meter, asked, out = Meter(most, now=clock), 0, Counter[str]()
    for step in steps:
        match step:
            case "seal":
                meter.seal()
            case str():
                meter(answered(step))
                asked += 1
            case int():
                out.update({"requests": sum(each.requests for each in meter.take(step))})
            case None:
                clock.now_s += HOUR_S
        assert len(meter) <= most

    for _ in range(2):
        meter.seal()
        out.update({"requests": sum(each.requests for each in meter.take(100))})
    assert out["requests"] + meter.lost == asked
