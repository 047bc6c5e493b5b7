"""A cluster of several hosts is found at the one that will do, whatever the others do."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict

from pools.errors import DatabaseUnavailable
from registry.placement import Placement
from tests.support.gateways import free_ports
from tests.support.places import (
    POOL,
    Heard,
    Places,
    open_places,
    open_pools,
    open_way,
    pool_limits,
    run,
    value,
)
from tests.support.standby import open_standby
from tiergate.embedded import Cluster
from tiergate.events import ConnectionOpened, DialFailed
from tiergate.tenant import Tier


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


def at(placement: Placement, *ports: object) -> Placement:
    """The same, at several ports of this machine, of which one takes writes."""
    hosts, numbers = ",".join("127.0.0.1" for _ in ports), ",".join(map(str, ports))
    conninfo = f"host={hosts} port={numbers} sslmode=disable target_session_attrs=read-write"
    return replace(placement, place=replace(placement.place, conninfo=conninfo))


async def test_a_host_that_is_silent_does_not_keep_from_the_next_one(places: Places) -> None:
    acme = await places.create(Tier.PREMIUM)
    port = conninfo_to_dict(acme.place.conninfo)["port"]
    async with open_way(acme) as (proxy, _):
        proxy.blackhole()
        both = at(acme, proxy.port, port)
        limits, heard = pool_limits(replace(POOL, server_connect_timeout=4)), Heard()
        async with open_pools(limits, heard) as switchboard:
            began = time.monotonic()
            first = await value(switchboard, both, "SELECT 1")
            between = time.monotonic()
            switchboard.pool(both).reconnect()
            second = await value(switchboard, both, "SELECT 1")
            ended = time.monotonic()
        proxy.cut()

    assert (first, second) == ("1", "1")
    assert (len(heard.of(ConnectionOpened)), proxy.accepted) == (2, 1)
    assert 2 <= between - began < 4
    assert ended - between < 2  # the one that answered last was asked first


async def test_a_host_where_nobody_listens_costs_no_time(places: Places) -> None:
    acme = await places.create(Tier.GOVERNMENT)
    [nobody] = free_ports(1)
    async with open_pools() as switchboard:
        answer = await value(
            switchboard, at(acme, nobody, conninfo_to_dict(acme.place.conninfo)["port"]), "SELECT 1"
        )

    assert answer == "1"


async def test_a_standby_is_passed_over_and_when_there_is_nothing_else_that_is_said(
    postgres: Cluster, places: Places
) -> None:
    acme = await places.create(Tier.PREMIUM)
    [nobody] = free_ports(1)
    heard = Heard()
    async with open_standby(postgres) as standby, open_pools(heard=heard) as switchboard:
        assert await value(switchboard, at(acme, standby.port, postgres.port), "SELECT 1") == "1"
        with pytest.raises(DatabaseUnavailable):
            await run(switchboard, at(acme, nobody, standby.port), "SELECT 1")

    error = heard.of(DialFailed)[-1].error
    assert "Connection refused" in error
    assert "session is read-only" in error
