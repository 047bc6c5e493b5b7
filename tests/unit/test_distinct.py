"""Different names are counted within 5 %, however often each is seen and by whom."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observe.distinct import Distinct


def seen(names: range, salt: int = 0) -> Distinct:
    """A sketch that has seen so many names."""
    sketch = Distinct()
    for name in names:
        sketch.add(f"{salt}-tenant-{name}")
    return sketch


@pytest.mark.parametrize("salt", range(3))
@pytest.mark.parametrize("size", [100, 1_000, 10_000, 20_000, 100_000])
def test_up_to_100_000_names_are_counted_within_5_percent(size: int, salt: int) -> None:
    assert seen(range(size), salt).count() == pytest.approx(size, rel=0.05)


@settings(deadline=None)
@given(st.integers(0, 2_000), st.integers(0, 1_000_000))
def test_few_names_are_counted_almost_exactly(size: int, salt: int) -> None:
    assert abs(seen(range(size), salt).count() - size) <= max(1.0, 0.05 * size)


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), max_size=200), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(names: list[str], order: random.Random) -> None:
    one, other = Distinct(), Distinct()
    for name in names:
        one.add(name)
    again = names * 2
    order.shuffle(again)
    for name in again:
        other.add(name)

    assert one.ranks == other.ranks


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_what_two_have_seen_is_what_one_would_have_seen(first: int, both: int, second: int) -> None:
    together = seen(range(first + both))
    together.merge(seen(range(first, first + both + second)))

    assert together.ranks == seen(range(first + both + second)).ranks


def test_nothing_seen_is_nothing() -> None:
    assert Distinct().count() == 0


def test_a_sketch_is_handed_on_as_its_registers() -> None:
    sketch = seen(range(300))

    assert Distinct(bytes(sketch.ranks)).count() == sketch.count()
