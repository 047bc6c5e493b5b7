"""What modules share: an operator's world for the admin API, and two databases for what moves."""

from collections.abc import AsyncIterator

import httpx
import pytest

from admin.app import build_admin
from tests.support.moves_engine import open_pair
from tests.support.operators import ADMIN_KEY, Side, World, add_clusters, open_client, open_world
from tests.support.places import Places
from tests.support.postgres import ThreeClusters, open_three_clusters
from tiergate.embedded import Cluster


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


@pytest.fixture(scope="module")
async def pair(postgres: Cluster) -> AsyncIterator[tuple[Places, Places]]:
    """Two databases of one server, with the same application."""
    async with open_pair(postgres) as opened:
        yield opened
