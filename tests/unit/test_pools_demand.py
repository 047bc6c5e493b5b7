"""Which of its connections a pool would miss."""

import pytest

from pools.demand import Demand


def test_the_last_connection_is_missed_as_often_as_all_were_lent_at_once() -> None:
    demand = Demand(0.0)
    for lent in (1, 2, 1, 1):
        demand.count(lent)

    assert [demand.of_last(size) for size in (1, 2, 3)] == [3, 1, 0]


def test_what_was_a_while_ago_counts_half() -> None:
    demand = Demand(100.0)
    demand.count(1)
    demand.fade(115.0)
    demand.count(1)
    demand.fade(130.0)

    assert demand.of_last(1) == pytest.approx(0.75)


def test_who_is_asked_all_the_time_is_missed_more_than_who_was_asked_last_until_that_is_long_ago() -> None:
    busy, once = Demand(0.0), Demand(0.0)
    for second in range(1, 60):
        for _ in range(10):
            busy.count(1)
        busy.fade(second)
    once.count(1)

    assert busy.of_last(1) > once.of_last(1)
    busy.fade(60 + 8 * 15)
    assert busy.of_last(1) < once.of_last(1)
