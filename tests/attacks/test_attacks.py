"""No attack reaches another tenant or disturbs one, whichever line stands alone; without ours they do."""

from collections.abc import AsyncIterator

import pytest

from tests.attacks.arms import ARMS, PLAIN, Arm, run_all
from tests.attacks.attack import attacks, winners
from tests.attacks.ring import Verdict
from tests.support.postgres import open_test_cluster
from tiergate.embedded import Cluster
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Cluster]:
    """A server of its own: some attacks that succeed would be in others' way."""
    async with open_test_cluster() as opened:
        yield opened


@pytest.mark.parametrize(("tier", "least"), [(Tier.STANDARD, 150), (Tier.PREMIUM, 60), (Tier.GOVERNMENT, 30)])
def test_there_are_many_attacks_and_each_has_a_name_of_its_own(tier: Tier, least: int) -> None:
    names = [attack.id for attack in attacks(tier, by_login=True)]
    texts = [(attack.requests, attack.sign) for attack in attacks(tier, by_login=True)]

    assert len(set(names)) == len(names) >= least
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("tier", Tier)
async def test_attacks_succeed_against_tables_as_they_are_usually_made(server: Cluster, tier: Tier) -> None:
    outcomes = await run_all(server, PLAIN, tier)
    won = {attack.id for attack, outcome in outcomes.items() if outcome.verdict is not Verdict.CONTAINED}

    missed = set(winners(tier)) - won
    # A few need luck: that a victim is at work just then.
    assert len(missed) <= len(winners(tier)) // 20, missed
    assert len(winners(tier)) > 10


@pytest.mark.parametrize(
    ("arm", "tier"),
    [
        pytest.param(arm, tier, id=f"{arm.name}-{tier}")
        for arm in ARMS
        if arm is not PLAIN
        for tier in arm.tiers
    ],
)
async def test_no_attack_reaches_or_disturbs_another_tenant(server: Cluster, arm: Arm, tier: Tier) -> None:
    outcomes = await run_all(server, arm, tier)
    broken = {attack.id: outcome for attack, outcome in outcomes.items() if not arm.holds(attack, outcome)}

    assert broken == {}
