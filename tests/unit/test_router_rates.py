"""A tenant has its burst at once and its rate in the long run, and costs nothing once it is quiet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.placement import Place, PlaceId, Placement, TenantLimits, TenantState
from router.errors import RateLimited
from router.problems import problem
from router.rates import Rate, Rates
from tiergate.tenant import TenantId, Tier

ACME, OTHER = TenantId("acme"), TenantId("other")
NOTHING = TenantLimits()


def placed(tenant: TenantId = ACME, tier: Tier = Tier.STANDARD, own: TenantLimits = NOTHING) -> Placement:
    place = Place(PlaceId("pl_1"), tier, "c", "host=db", "app", "app", "gate", "secret", b"", 1)
    return Placement(tenant, tier, TenantState.ACTIVE, place, epoch=1, region=None, limits=own)


def passed(rates: Rates, times: list[float], who: Placement | None = None) -> list[float]:
    """Those of *times* at which a request passes."""
    asking = who or placed()
    told = []
    for now in times:
        try:
            rates.take(asking, now)
        except RateLimited:
            continue
        told.append(now)
    return told


def test_a_burst_passes_at_once_and_then_as_many_as_the_rate_says() -> None:
    rates = Rates({Tier.STANDARD: Rate(8, 5)})

    assert len(passed(rates, [0.0] * 20)) == 5
    assert len(passed(rates, [n / 64 for n in range(1, 65)])) == 8


def test_a_refusal_says_when_it_passes_and_then_it_does() -> None:
    rates = Rates({Tier.STANDARD: Rate(0.5, 1)})
    rates.take(placed(), 0)

    with pytest.raises(RateLimited) as refused:
        rates.take(placed(), 0.5)

    assert refused.value.wait_s == pytest.approx(1.5)
    assert (b"retry-after", b"2") in problem(refused.value, neon=False).headers
    rates.take(placed(), 0.5 + refused.value.wait_s)


def test_one_tenants_requests_are_not_counted_as_anothers() -> None:
    rates = Rates({Tier.STANDARD: Rate(1, 1)})

    assert passed(rates, [0]) == passed(rates, [0], placed(OTHER)) == [0]


def test_a_tier_without_a_rate_has_no_limit() -> None:
    rates = Rates({Tier.STANDARD: Rate(None, 1)})

    assert len(passed(rates, [0.0] * 100)) == 100
    assert len(rates) == 0


def test_who_is_quiet_again_is_forgotten() -> None:
    rates = Rates({Tier.STANDARD: Rate(1, 1)})
    for number in range(10_000):
        rates.take(placed(TenantId(f"t-{number}")), number)

    assert len(rates) <= 1025


@given(
    st.lists(st.floats(0, 2), max_size=60),
    st.floats(0.5, 50),
    st.integers(1, 10),
)
def test_never_more_than_the_burst_and_the_rate_pass(gaps: list[float], per_s: float, burst: int) -> None:
    now, times = 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
    told = passed(Rates({Tier.STANDARD: Rate(per_s, burst)}), times)

    for first in range(len(told)):
        for last in range(first, len(told)):
            most = burst + (told[last] - told[first]) * per_s
            assert last - first + 1 <= most + 1e-6


def test_a_higher_rate_holds_at_once_for_who_had_used_up_a_lower_one() -> None:
    """Who had taken a burst of 100 at one a minute was refused for 100 minutes, whatever the new rate."""
    rates = Rates({Tier.STANDARD: Rate(1 / 60, 100), Tier.PREMIUM: Rate(10, 10)})
    for _ in range(100):
        rates.take(placed(), 0)

    with pytest.raises(RateLimited):
        rates.take(placed(tier=Tier.PREMIUM), 0)
    rates.take(placed(tier=Tier.PREMIUM), 0.15)
    with pytest.raises(RateLimited):
        rates.take(placed(tier=Tier.PREMIUM), 0.15)


@pytest.mark.parametrize("tiers", [Rate(None, 3), Rate(1, 3), Rate(1000, 3)])
def test_a_tenants_own_rate_holds_whatever_its_tier_has(tiers: Rate) -> None:
    rates = Rates({Tier.STANDARD: tiers})
    own = placed(own=TenantLimits(requests_per_s=8, burst=5))

    assert len(passed(rates, [0.0] * 20, own)) == 5
    assert len(passed(rates, [n / 64 for n in range(1, 65)], own)) == 8


def test_of_rate_and_burst_the_one_that_is_not_its_own_is_its_tiers() -> None:
    rates = Rates({Tier.STANDARD: Rate(8, 5)})

    assert len(passed(rates, [0.0] * 20, placed(own=TenantLimits(burst=2)))) == 2
    assert len(passed(rates, [0.0] * 20, placed(OTHER, own=TenantLimits(requests_per_s=1)))) == 5


def test_a_rate_that_is_given_back_is_its_tiers_at_once() -> None:
    rates = Rates({Tier.STANDARD: Rate(None, 1)})
    assert passed(rates, [0.0] * 3, placed(own=TenantLimits(requests_per_s=0.01))) == [0.0]

    assert len(passed(rates, [0.0] * 100)) == 100
