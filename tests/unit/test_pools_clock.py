"""What time the gateway takes it to be at a database."""

import pytest

from pools.clock import Clock, Ours
from tiergate.events import ClockOff, ClockRead, Event


class Machine:
    """Our own clocks, and the events that a reading makes."""

    def __init__(self) -> None:
        self.ticks_s = 500.0
        self.wall_s = 1_700_000_000.0
        self.events: list[Event] = []
        self.clock = Clock("main", Ours(lambda: self.wall_s, lambda: self.ticks_s), self.events.append)

    def learn(self, read_s: float, *, took_s: float = 0.002) -> None:
        """A reading of *read_s*, taken in the middle of a round trip that ends now."""
        self.clock._learn(read_s, self.ticks_s - took_s, self.ticks_s)

    def off(self) -> list[ClockOff]:
        return [event for event in self.events if isinstance(event, ClockOff)]


def test_before_a_reading_our_own_clock_is_believed() -> None:
    machine = Machine()

    assert machine.clock.now_s() == machine.wall_s
    assert machine.clock.is_due


def test_time_goes_on_from_the_reading_whatever_our_own_clock_does() -> None:
    machine = Machine()
    machine.learn(42.0)
    machine.wall_s += 86_400
    machine.ticks_s += 7

    assert machine.clock.now_s() == pytest.approx(49.001)
    assert machine.clock.error_s == pytest.approx(0.001)


def test_a_slow_reading_that_contradicts_nothing_changes_nothing() -> None:
    machine = Machine()
    machine.learn(42.0)
    machine.learn(41.0, took_s=4.0)
    assert machine.clock.now_s() == pytest.approx(42.001)

    machine.learn(52.0, took_s=4.0)
    assert machine.clock.now_s() == pytest.approx(54.0)
    assert machine.clock.error_s == pytest.approx(2.0)


def test_the_offset_to_our_own_clock_is_told_with_every_reading() -> None:
    machine = Machine()
    machine.learn(machine.wall_s + 2.0, took_s=0.0)

    assert machine.events == [ClockRead("main", pytest.approx(2.0), 0.0)]  # type: ignore[arg-type]


def test_clocks_far_apart_are_told_once_and_each_jump_again() -> None:
    machine = Machine()
    for _ in range(3):
        machine.learn(machine.wall_s - 3600)
    assert [(round(event.offset_s), event.jumped_s) for event in machine.off()] == [(-3600, 0.0)]

    machine.learn(machine.wall_s + 1)
    machine.learn(machine.wall_s + 1.4)
    assert [round(event.jumped_s) for event in machine.off()] == [0, 3601]
