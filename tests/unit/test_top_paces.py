"""What is told as a pace is a difference of counters, and no restart or lost answer makes it a lie."""

import math

import pytest

from tests.support.sights import metrics, move, process, sample, view
from tiergate.cli.top.scrape import label, quantile, read_scrape
from tiergate.cli.top.view import Looking


def test_a_pace_is_what_was_added_over_the_time_between() -> None:
    seen = view(sample(100, metrics(50)), sample(104, metrics(130, queue_full=12, paused=8)))

    standard = seen.tiers[0]
    assert (seen.over_s, standard.requests_per_s, standard.errors_per_s) == (4, 25.0, 5.0)
    assert standard.mostly == "queue-full"
    assert standard.p50_s == pytest.approx(0.00175)
    assert standard.p99_s == pytest.approx(0.002485)
    assert [tier.tier for tier in seen.tiers] == ["standard", "premium", "government"]


def test_one_look_tells_no_pace_and_a_quiet_gateway_none_either() -> None:
    for seen in (view(sample(100, metrics(50))), view(sample(100, metrics(50)), sample(105, metrics(50)))):
        assert (seen.tiers[0].requests_per_s, seen.tiers[0].p99_s, seen.tiers[0].mostly) == (0, None, None)


def test_the_time_looked_at_is_the_last_ten_seconds_or_the_last_two_looks() -> None:
    looking = Looking()
    seen = [looking.add(sample(at_s, metrics(at_s))) for at_s in range(0, 30, 2)]
    late = looking.add(sample(128, metrics(128)))

    assert [each.over_s for each in seen] == [0, 2, 4, 6, 8, *[10] * 10]
    assert late.over_s == 100
    assert late.tiers[0].requests_per_s == pytest.approx(1.0)


def test_a_gateway_that_began_anew_is_looked_at_anew() -> None:
    looking = Looking()
    for at_s, count in ((0, 1000), (2, 1100)):
        looking.add(sample(at_s, metrics(count)))

    assert looking.add(sample(4, metrics(10))).tiers[0].requests_per_s == 0
    assert looking.add(sample(6, metrics(30))).tiers[0].requests_per_s == 10


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, None),
        ({math.inf: 0}, 0.5, None),
        ({1.0: 10, math.inf: 10}, 0.5, 0.5),
        ({1.0: 5, 2.0: 10, math.inf: 10}, 0.9, 1.8),
        ({1.0: 0, 2.0: 0, math.inf: 4}, 0.5, 2.0),
    ],
)
def test_a_quantile_is_the_one_that_prometheus_tells(
    buckets: dict[float, float], share: float, expected: float | None
) -> None:
    assert quantile(buckets, share) == expected


def test_of_a_scrape_only_what_is_ours_and_understood_is_read() -> None:
    ours = 'tiergate_x{a="b,\\"c\\"",d="e"} 1.5\ntiergate_y 2\ntiergate_z nonsense\n'
    text = f"{ours}other 3\n# TYPE tiergate_y gauge\n"

    scrape = read_scrape(text, 0)
    [labels] = scrape.of("tiergate_x", d="e")
    assert (label(labels, "a"), label(labels, "none")) == ('b,\\"c\\"', "")
    assert (scrape.sum("tiergate_y"), scrape.sum("tiergate_z"), scrape.sum("other")) == (2, 0, 0)


def test_clusters_are_those_of_all_processes_that_were_heard_of_and_down_where_one_says_so() -> None:
    heard = [process(used=3), process(used=4, waiting=2, is_up=False)]
    seen = view(sample(processes=[*heard, process(used=9, is_silent=True)]))

    [cluster] = seen.clusters
    assert (cluster.used, cluster.max, cluster.active, cluster.waiting) == (7, 20, 7, 2)
    assert (cluster.is_up, cluster.tier) == (False, "standard")
    assert (seen.processes, seen.silent) == (3, 1)


@pytest.mark.parametrize(
    ("ready", "text"),
    [
        ({"registry": "up", "clusters": {"standard-1": "down"}}, ""),
        ({"registry": "up", "clusters": {"standard-1": {"state": "down"}}}, ""),
        ({"registry": "up"}, 'tiergate_cluster_up{cluster="standard-1"} 0.0\n'),
    ],
)
def test_a_cluster_is_down_when_the_gateway_that_is_asked_says_so(
    ready: dict[str, object], text: str
) -> None:
    assert [each.is_up for each in view(sample(0, text, ready=ready)).clusters] == [False]


def test_a_move_stands_still_for_as_long_as_nothing_of_it_changes() -> None:
    further = move(progress={"copied": {"rows": 1300, "size_bytes": 0}})
    looking = Looking()
    still = [
        list(looking.add(sample(at_s, moves=[each])).still_s.values())
        for at_s, each in ((0, move()), (30, move()), (40, further), (60, further))
    ]

    assert still == [[0], [30], [0], [20]]
