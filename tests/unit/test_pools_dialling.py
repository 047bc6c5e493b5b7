"""Who waits is told that nothing will come exactly when nothing will."""

import asyncio
import math

from pools.breaker import Breaker
from pools.budget import Budget
from pools.clock import Ours
from pools.cluster import Cluster
from pools.dialling import Dialling
from pools.errors import DatabaseUnavailable
from registry.placement import Place, PlaceId
from tests.support.places import Heard
from tiergate.tenant import Tier

PLACE = Place(PlaceId("pl_1"), Tier.PREMIUM, "main", "", "db", "app", "login", "secret", b"", 1)


class Nobody:
    """A pool without a need."""

    permits = 0
    rank = (True, True, 0)

    def grow(self) -> None:
        """Want nothing."""


def a_dialling() -> tuple[Dialling, Breaker]:
    cluster = Cluster("main", Budget(9, 9, evict=lambda: False), tell=lambda: None, ours=Ours(), emit=Heard())
    return Dialling(PLACE, cluster, Nobody(), Heard()), cluster.breaker


def fail(dialling: Dialling, *, is_silent: bool = False, is_of_server: bool = True) -> float:
    """A dial fails, so that a pause is on; when it began."""
    told = DatabaseUnavailable("main", "so it is", is_of_server=is_of_server, is_silent=is_silent)
    began: list[float] = []
    while (dial := dialling.begin()) is not None:  # a pause may be as short as nothing
        began.append(dial.began)
        dialling.end(dial, told)
    return began[-1]


async def test_while_all_is_well_nobody_despairs() -> None:
    dialling, _ = a_dialling()

    assert dialling.despair(has_any=False, last_used=-math.inf) is None


async def test_a_full_server_leaves_hope_to_who_has_connections() -> None:
    dialling, _ = a_dialling()
    fail(dialling)

    assert isinstance(dialling.despair(has_any=False, last_used=0), DatabaseUnavailable)
    assert dialling.despair(has_any=True, last_used=-math.inf) is None


async def test_a_silent_server_leaves_hope_only_where_a_connection_has_come_back_since() -> None:
    dialling, _ = a_dialling()
    began = fail(dialling, is_silent=True)

    assert isinstance(dialling.despair(has_any=True, last_used=began - 0.001), DatabaseUnavailable)
    assert dialling.despair(has_any=True, last_used=began + 0.001) is None


async def test_a_refused_login_says_that_the_server_is_there() -> None:
    dialling, breaker = a_dialling()
    began = asyncio.get_running_loop().time()
    breaker.fail(DatabaseUnavailable("main", "refused", is_of_server=True), began)
    woken = asyncio.Event()
    breaker.call_after(woken.set)
    await woken.wait()
    fail(dialling, is_of_server=False)

    assert not breaker.is_open
    assert dialling.despair(has_any=False, last_used=0) is not None
