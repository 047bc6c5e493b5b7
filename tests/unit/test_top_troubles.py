"""Whatever is wrong is named with who is hurt and a command that there is; the worst comes first."""

import re

import pytest

from tests.support.sights import metrics, move, process, sample, tenant, view
from tests.unit.test_cli_documented import NAMES
from tiergate.cli.top.sample import Sample
from tiergate.cli.top.trouble import _OF_TENANT, Weight, troubles

NUMBER = str(move()["id"])
FULL = process(used=10, waiting=5)


def told(*samples: Sample) -> list[tuple[str, str]]:
    return [(each.what, each.do) for each in troubles(view(*samples))]


def test_nothing_is_wrong_with_a_gateway_that_serves() -> None:
    assert told(sample(0, metrics(10)), sample(2, metrics(90), tenants=[tenant("acme")])) == []


@pytest.mark.parametrize(
    ("looks", "what", "do"),
    [
        ([sample(ready={"registry": "down"})], "The registry does not answer", "tiergate check"),
        (
            [sample(processes=[process(is_up=False)], tenants=[tenant("acme", errors_per_s=5.0)])],
            "Cluster standard-1 does not answer. 1 of its tenants fail.",
            "tiergate cluster show standard-1",
        ),
        ([sample(processes=[process(is_silent=True)])], "1 of 1 processes are silent", "tiergate gateways"),
        (
            [sample(processes=[FULL], tenants=[tenant("acme"), tenant("other")])],
            "Cluster standard-1: all 10 connections are in use, 5 requests wait.",
            "tiergate advise --cluster standard-1",
        ),
        (
            [sample(processes=[FULL], tenants=[tenant("acme", connections=9.0), tenant("other")])],
            "acme has most of them.",
            "tiergate tenant set acme --max-inflight N, or tiergate promote acme",
        ),
        (
            [sample(tenants=[tenant("acme", waiting=7, oldest_s=1.25)])],
            "acme waits: 7 requests in line, the first for 1.2 s.",
            "tiergate show --tenant acme",
        ),
        (
            [sample(tenants=[tenant("acme", waited_s=8.0)])],
            "acme waits for connections: 0.8 s for each request.",
            "tiergate show --tenant acme",
        ),
        (
            [sample(tenants=[tenant("acme", errors_per_s=2.0, error="rate-limited")])],
            "acme: 2.0 requests/s fail, the last with rate-limited.",
            "tiergate tenant set acme --requests-per-s N",
        ),
        (
            [sample(tenants=[tenant("acme", errors_per_s=2.0, error="queue-full", waiting=3, oldest_s=2.0)])],
            "the last with queue-full. It waits: 3 requests in line, the first for 2.0 s.",
            "tiergate show --tenant acme",
        ),
        (
            [sample(tenants=[tenant("acme", errors_per_s=2.0, error="statement-failed")])],
            "acme: 2.0 requests/s fail with statement-failed: its own mistakes.",
            "nothing here",
        ),
        (
            [sample(0, metrics(10)), sample(2, metrics(90, internal=20))],
            "standard: 10.0 of 50.0 requests/s fail, mostly with internal.",
            "docs/how-to/operate.md",
        ),
        ([sample(moves=[move(error="no room")])], "tries copying again: no room", f"moves show {NUMBER}"),
        ([sample(moves=[move(worker=None)])], "no process works on it", f"tiergate moves show {NUMBER}"),
        (
            [sample(0, moves=[move()]), sample(61, moves=[move()])],
            "The move of acme stands in copying for 61 s.",
            f"tiergate moves show {NUMBER}",
        ),
        ([sample(moves=[move(is_paused=True)])], "paused while copying", f"tiergate moves resume {NUMBER}"),
        (
            [sample(moves=[move(state="ready", hold=True)])],
            "is ready, and waits for somebody",
            f"tiergate moves cutover {NUMBER}",
        ),
        (
            [sample(orders=[{"verb": "pause", "tenant": "acme", "actor": "cli:ann", "left_s": 200.0}])],
            "Tenant acme is paused by cli:ann, for 200 s more.",
            "tiergate resume --tenant acme",
        ),
        (
            [
                sample(0, "tiergate_protection_losses_total 0\n"),
                sample(2, "tiergate_protection_losses_total 1\n"),
            ],
            "not to keep its tenants apart",
            "tiergate verify",
        ),
        ([sample(0, "tiergate_audit_cuts_total 1\n")], "audit", "tiergate audit --verify"),
        ([sample(refused={"/busiest": "no-such-route"})], "does not tell /busiest", "tiergate version"),
    ],
)
def test_each_kind_of_trouble_is_named_with_what_to_do(looks: list[Sample], what: str, do: str) -> None:
    [(said, advised)] = told(*looks)

    assert what in said
    assert do in advised


def test_every_command_that_is_advised_exists() -> None:
    everything = sample(
        2,
        "tiergate_audit_cuts_total 1\ntiergate_protection_losses_total 1\n",
        ready={"registry": "down", "clusters": {"gone": "down"}},
        processes=[FULL, process(is_silent=True)],
        tenants=[tenant(f"t{code}", errors_per_s=5.0, error=code) for code in _OF_TENANT]
        + [tenant("slow", waiting=3, oldest_s=9.0)],
        moves=[move(error="x"), move(is_paused=True), move(worker=None), move(state="ready", hold=True)],
        orders=[{"verb": "drain", "cluster": "standard-1", "actor": "a", "left_s": 5.0}],
    )
    advised = [do for _, do in told(sample(0, metrics(1)), everything)]
    words = [word for do in advised for word in re.findall(r"tiergate [a-z]+(?: [a-z]+)?", do)]

    assert len(words) > len(_OF_TENANT)
    assert [word for word in words if word not in NAMES and word.rpartition(" ")[0] not in NAMES] == []


def test_the_worst_comes_first_and_what_a_dead_cluster_explains_is_not_said_again() -> None:
    found = troubles(
        view(
            sample(
                processes=[process(is_up=False)],
                tenants=[
                    tenant("acme", errors_per_s=9.0, error="database-unavailable"),
                    tenant("far", cluster="other", waiting=2, oldest_s=1.0),
                ],
                orders=[{"verb": "pause", "tenant": "far", "actor": "a", "left_s": 5.0}],
            )
        )
    )

    assert [each.weight for each in found] == [Weight.DOWN, Weight.TENANT, Weight.NOTED]
    assert not any("acme" in each.what for each in found)
