"""A gate that is closed for more than one reason is open when all of them are over."""

import asyncio
from collections.abc import Sequence

import pytest

from pools.errors import Drained
from pools.gates import Closure, Gates
from registry.orders import Kind, Scope, Verb
from registry.placement import Place, PlaceId, Placement, TenantState
from tests.support.places import POOL, Heard
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.happenings.orders import GatesSet
from tiergate.tenant import TenantId, Tier

ACME = Scope(Kind.TENANT, "acme")
PLACE = Place(PlaceId("pl_a"), Tier.PREMIUM, "premium-1", "host=db", "app", "app", "login", "", b"", 1)
PLACEMENT = Placement(TenantId("acme"), Tier.PREMIUM, TenantState.ACTIVE, PLACE, 1, None)


def closures(verb: Verb, *, brief_s: float, comes_first: bool) -> list[tuple[Scope, Closure]]:
    """What an operator has closed, and the brief pause of a move's cut-over."""
    now = asyncio.get_running_loop().time()
    found = [(ACME, Closure(verb, now + 3600)), (ACME, Closure(Verb.PAUSE, now + brief_s))]
    return found[::-1] if comes_first else found


async def until_over(gates: Gates, given: Sequence[tuple[Scope, Closure]]) -> None:
    """Wait until the brief pause is over, and what the gates do of themselves by then is done."""
    ends_s = min(closure.until for _, closure in given)
    await wait_until(lambda: asyncio.get_running_loop().time() > ends_s, what="the end of the pause")
    await wait_until(lambda: len(gates._closures) < len(given), what="that the gates have seen it")


@pytest.mark.parametrize("comes_first", [True, False])
@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.DRAIN])
async def test_the_end_of_a_cutovers_pause_opens_nothing_that_an_operator_has_closed(
    verb: Verb, *, comes_first: bool
) -> None:
    heard = Heard()
    gates = Gates(heard)
    given = closures(verb, brief_s=0.01, comes_first=comes_first)
    gates.set(given)

    await until_over(gates, given)

    assert gates.is_closed(PLACEMENT)
    assert gates.any_closed
    assert gates.is_drained(PLACEMENT) is (verb is Verb.DRAIN)
    assert heard.of(GatesSet) == [GatesSet(int(verb is Verb.PAUSE), int(verb is Verb.DRAIN))]


@pytest.mark.parametrize("comes_first", [True, False])
async def test_a_cutovers_pause_lets_nobody_wait_whom_an_operator_has_refused(*, comes_first: bool) -> None:
    gates = Gates(Heard())
    gates.set(closures(Verb.DRAIN, brief_s=3600, comes_first=comes_first))

    with pytest.raises(Drained):
        await gates.refuse_or_wait(PLACEMENT, POOL, Deadline.after(60))

    assert gates.is_drained(PLACEMENT)


async def test_what_an_operator_opens_stays_closed_for_the_cutover() -> None:
    gates = Gates(Heard())
    given = closures(Verb.DRAIN, brief_s=3600, comes_first=False)
    gates.set(given)

    gates.set(given[1:])
    still_closed = gates.is_closed(PLACEMENT)
    gates.set(())

    assert still_closed
    assert not gates.is_drained(PLACEMENT)
    assert not gates.is_closed(PLACEMENT)
