"""What a gateway is made of is not looked through while requests wait."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from tiergate.memory import settle


class Circle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def unsettled() -> Iterator[None]:
    """What a test has settled is looked through again."""
    yield
    gc.unfreeze()


def test_what_is_there_is_not_looked_through_again() -> None:
    circle = Circle()
    settle()

    assert not any(each is circle for each in gc.get_objects())


def test_what_nobody_can_reach_any_more_is_freed_first() -> None:
    circle = weakref.ref(Circle())
    settle()

    assert circle() is None


def test_what_comes_later_is_looked_through() -> None:
    settle()
    circle = weakref.ref(Circle())
    gc.collect()

    assert circle() is None
