"""An operator's world for the tests of the admin API: servers and a registry for each module."""

from collections.abc import AsyncIterator

import httpx
import pytest

from admin.app import build_admin
from tests.support.operators import ADMIN_KEY, Side, World, add_clusters, open_client, open_world
from tests.support.postgres import ThreeClusters, open_three_clusters


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[ThreeClusters]:
    async with open_three_clusters() as clusters:
        yield clusters


@pytest.fixture(scope="module")
async def world(servers: ThreeClusters) -> AsyncIterator[World]:
    async with open_world(servers) as opened:
        yield opened


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.fixture
async def api(world: World, side: Side) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(build_admin(world.operations, side.seam(), key=ADMIN_KEY)) as client:
        yield client


@pytest.fixture
async def ready(world: World, api: httpx.AsyncClient) -> httpx.AsyncClient:
    """The API, with a cluster for each tier."""
    await add_clusters(api, world)
    return api
