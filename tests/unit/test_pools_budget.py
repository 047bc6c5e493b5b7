"""Permits for a cluster's connections: never one too many, and none is ever left lying."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pools.budget import Budget


class Hungry:
    """Somebody who takes as many permits as he needs; his dials are over at once, unless told otherwise."""

    def __init__(self, budget: Budget, needs: int = 1) -> None:
        self.budget = budget
        self.needs = needs
        self.permits = 0

    @property
    def rank(self) -> tuple[bool, bool, int]:
        return False, True, self.permits

    def grow(self) -> None:
        while self.needs:
            if not self.budget.take():
                self.budget.want(self)
                return
            self.needs -= 1
            self.permits += 1


def nothing_rests() -> bool:
    """There is nothing to evict."""
    return False


def into(evicted: list[int]) -> Callable[[], bool]:
    """Notes each demand; nothing can be evicted besides."""

    def evict() -> bool:
        evicted.append(1)
        return False

    return evict


def test_permits_are_given_up_to_the_limit() -> None:
    budget = Budget(2, 99, evict=nothing_rests)

    assert [budget.take() for _ in range(4)] == [True, True, False, False]
    assert budget.used == 2


def test_a_permit_goes_to_the_longest_waiting() -> None:
    budget = Budget(1, 99, evict=nothing_rests)
    budget.take()
    first, second = Hungry(budget), Hungry(budget)
    first.grow()
    second.grow()

    budget.give()
    assert (first.permits, second.permits) == (1, 0)

    budget.give()
    assert (first.permits, second.permits) == (1, 1)


def test_a_permit_goes_to_who_has_fewest() -> None:
    budget = Budget(3, 99, evict=nothing_rests)
    rich, poor = Hungry(budget, needs=9), Hungry(budget)
    rich.grow()
    poor.grow()

    budget.give()

    assert (rich.permits, poor.permits) == (3, 1)


def test_what_works_is_owed_to_who_has_less_once_its_turn_is_over() -> None:
    budget = Budget(3, 99, evict=nothing_rests)
    rich, poor = Hungry(budget, needs=9), Hungry(budget)
    rich.grow()
    assert not budget.is_owed(rich, 3, held_s=60)
    poor.grow()

    assert budget.is_owed(rich, 3, held_s=60)
    assert budget.is_owed(rich, 1, held_s=60)
    assert not budget.is_owed(rich, 3, held_s=0)
    poor.permits = 2
    assert not budget.is_owed(rich, 3, held_s=60)
    poor.permits = 1
    assert budget.is_owed(rich, 3, held_s=60)
    budget.ending = 1
    assert not budget.is_owed(rich, 3, held_s=60)


def test_a_permit_passes_by_who_needs_none_any_more() -> None:
    """It stayed unused while the next in the queue waited in vain."""
    budget = Budget(1, 99, evict=nothing_rests)
    budget.take()
    served_meanwhile, waiting = Hungry(budget), Hungry(budget)
    served_meanwhile.grow()
    waiting.grow()
    served_meanwhile.needs = 0

    budget.give()

    assert waiting.permits == 1


def test_who_left_the_queue_is_not_called() -> None:
    budget = Budget(1, 99, evict=nothing_rests)
    budget.take()
    gone = Hungry(budget)
    gone.grow()

    budget.unwant(gone)
    budget.give()

    assert gone.permits == 0
    assert budget.used == 0


def test_who_wants_makes_a_resting_connection_give_way() -> None:
    evicted: list[int] = []
    budget = Budget(1, 99, evict=into(evicted))
    budget.take()

    Hungry(budget).grow()

    assert evicted == [1]


def test_nobody_gives_way_for_a_permit_that_is_on_its_way() -> None:
    evicted: list[int] = []
    budget = Budget(1, 99, evict=into(evicted))
    budget.take()
    budget.ending = 1

    Hungry(budget).grow()

    assert evicted == []


def test_a_lower_limit_evicts_what_rests_beyond_it_and_gives_out_nothing_until_it_holds() -> None:
    def evict() -> bool:
        budget.ending += 1
        return True

    budget = Budget(4, 99, evict=evict)
    for _ in range(4):
        budget.take()

    budget.resize(2, 99)

    assert budget.ending == 2
    budget.ending = 0
    assert budget.is_wanted
    budget.give()
    budget.give()
    assert not budget.take()
    assert not budget.is_wanted


def test_a_higher_limit_feeds_who_waits() -> None:
    budget = Budget(1, 99, evict=nothing_rests)
    budget.take()
    waiting = [Hungry(budget), Hungry(budget)]
    for one in waiting:
        one.grow()

    budget.resize(3, 99)

    assert [one.permits for one in waiting] == [1, 1]


@pytest.mark.parametrize("limit", [1, 3])
@given(acts=st.lists(st.tuples(st.sampled_from(["need", "sate", "give"]), st.integers(0, 3)), max_size=60))
def test_the_limit_holds_and_nobody_waits_while_a_permit_is_free(
    limit: int, acts: list[tuple[str, int]]
) -> None:
    budget = Budget(limit, 99, evict=nothing_rests)
    crowd = [Hungry(budget, needs=0) for _ in range(4)]
    for act, number in acts:
        one = crowd[number]
        match act:
            case "need":
                one.needs += 1
                one.grow()
            case "sate":
                one.needs = 0
            case _ if one.permits:
                one.permits -= 1
                budget.give()

        assert budget.used == sum(each.permits for each in crowd) <= limit
        assert budget.used == limit or not any(each.needs for each in crowd)
