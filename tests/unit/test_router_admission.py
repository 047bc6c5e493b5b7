"""What is in hand is shared so that everybody finds room."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from router.admission import Admission
from router.errors import Overloaded, ShareFull
from tiergate.tenant import TenantId

MOST = 100


@pytest.fixture
def hands() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def admission() -> Admission:
    return Admission(MOST, {})


def take(admission: Admission, hands: ExitStack, tenant: str, cluster: str) -> None:
    """One request more; as the door does it, so that who is refused leaves nothing behind."""
    with ExitStack() as request:
        request.enter_context(admission)
        request.enter_context(admission.share(TenantId(tenant), cluster))
        hands.push(request.pop_all())


def fill(admission: Admission, hands: ExitStack, tenant: str, cluster: str) -> int:
    """As many requests as may be; how many that was."""
    for taken in range(2 * MOST):
        try:
            take(admission, hands, tenant, cluster)
        except (ShareFull, Overloaded):
            return taken
    raise AssertionError("nothing bounds it")


def test_one_tenant_has_half_at_most(admission: Admission, hands: ExitStack) -> None:
    assert fill(admission, hands, "acme", "east") == MOST // 2


def test_one_cluster_has_three_quarters_at_most(admission: Admission, hands: ExitStack) -> None:
    taken = sum(fill(admission, hands, f"t{number}", "east") for number in range(MOST))

    assert taken == MOST * 3 // 4


def test_who_has_little_finds_room_beside_a_stalled_cluster(admission: Admission, hands: ExitStack) -> None:
    for number in range(MOST):
        fill(admission, hands, f"t{number}", "stalled")
    for number in range(5):
        take(admission, hands, f"u{number}", "well")

    with pytest.raises(ShareFull, match="tenants on cluster 'stalled'"):
        take(admission, hands, "t-new", "stalled")


def test_who_has_little_finds_room_while_many_are_about_to_be_refused(
    admission: Admission, hands: ExitStack
) -> None:
    for number in range(MOST):
        fill(admission, hands, f"t{number}", "stalled")
    take(admission, hands, "acme", "well")
    while admission.inflight < MOST - 1:  # they have come in, and nobody has asked yet whose they are
        hands.enter_context(admission)

    take(admission, hands, "acme", "well")


def test_a_neighbour_of_a_greedy_tenant_finds_room_on_the_same_cluster(
    admission: Admission, hands: ExitStack
) -> None:
    fill(admission, hands, "greedy", "east")
    take(admission, hands, "neighbour", "east")

    with pytest.raises(ShareFull, match="tenant 'greedy'"):
        take(admission, hands, "greedy", "east")


def test_several_stalled_clusters_leave_room_for_another(admission: Admission, hands: ExitStack) -> None:
    for cluster in range(3):
        for number in range(MOST):
            fill(admission, hands, f"t{cluster}-{number}", f"stalled-{cluster}")

    take(admission, hands, "acme", "well")


def test_callers_who_must_be_looked_up_leave_room_for_those_who_are_known(
    admission: Admission, hands: ExitStack
) -> None:
    for _ in range(MOST // 2):
        hands.enter_context(admission)
        hands.enter_context(admission.stranger())
    with pytest.raises(ShareFull, match="looked up"), admission, admission.stranger():
        pass

    take(admission, hands, "acme", "east")


def test_what_is_let_go_leaves_nothing(admission: Admission) -> None:
    with ExitStack() as hands:
        fill(admission, hands, "acme", "east")
        fill(admission, hands, "globex", "west")

    assert admission.inflight == 0
    with ExitStack() as hands:
        assert fill(admission, hands, "acme", "east") == MOST // 2


def test_the_smallest_gateway_serves_one(hands: ExitStack) -> None:
    assert fill(Admission(1, {}), hands, "acme", "east") == 1
