"""What a standby shows is as old as the last moment of the primary of which it has everything."""

from dataclasses import replace

from fleet.access import ClusterAccess
from fleet.lag import Moments, open_lags
from fleet.position import Position
from registry.placement import Place, PlaceId, Replica
from tests.support.places import Heard
from tiergate.events import LoopFailed, ReplicaMeasured
from tiergate.tenant import Tier


def primary(lsn: int, *, timeline: int = 1, system: int = 7) -> Position:
    return Position(system, is_standby=False, lsn=lsn, timeline=timeline)


def standby(lsn: int, *, timeline: int = 1, system: int = 7) -> Position:
    return Position(system, is_standby=True, lsn=lsn, timeline=timeline)


def known(*positions: Position) -> Moments:
    """A primary that was at these positions at 1.0, 2.0, and so on."""
    moments = Moments()
    for at_s, position in enumerate(positions, 1):
        moments.note(position, float(at_s))
    return moments


def test_a_standby_shows_the_last_moment_that_it_has_replayed() -> None:
    moments = known(primary(100), primary(200), primary(300))

    assert [moments.shown_by(standby(lsn)) for lsn in (99, 100, 299, 300, 400)] == [None, 1.0, 2.0, 3.0, 3.0]


def test_while_nothing_is_written_a_standby_is_as_fresh_as_the_last_answer() -> None:
    moments = known(primary(100), primary(100), primary(100))

    assert moments.shown_by(standby(100)) == 3.0
    assert moments.shown_by(standby(99)) is None


def test_a_standby_of_another_history_shows_nothing_of_this_one() -> None:
    """After a promotion the same place of the log holds something else."""
    moments = known(primary(100), primary(200, timeline=2))

    assert moments.shown_by(standby(300)) == 1.0
    assert moments.shown_by(standby(300, timeline=2)) == 2.0
    assert moments.shown_by(standby(300, timeline=3)) is None


def test_another_server_shows_nothing() -> None:
    assert known(primary(100)).shown_by(standby(300, system=8)) is None


def test_who_has_replayed_nothing_yet_shows_nothing() -> None:
    assert known(primary(100)).shown_by(Position.read(["7", "1", None, None])) is None


async def test_a_watch_that_fails_says_why_and_leaves_no_number_behind() -> None:
    """The gauge stayed at what was measured last, and the log told of "unhandled errors in a TaskGroup"."""

    async def find(_cluster: str) -> ClusterAccess:
        raise ValueError("a mistake of ours")

    heard, replica = Heard(), Replica("r1", "host=nowhere")
    place = Place(PlaceId("pl_1"), Tier.PREMIUM, "main", "", "db", "app", "login", "", b"", 1)
    async with open_lags(find, heard) as lags:
        lags.staleness_s(replace(place, replicas=(replica,)), replica)
        failed = await heard.wait_for(LoopFailed)

    assert "ValueError: a mistake of ours" in failed.error
    assert heard.of(ReplicaMeasured)[-1:] == [ReplicaMeasured("main", "r1", None)]
