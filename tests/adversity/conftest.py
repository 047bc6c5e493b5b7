"""Places of every tier in one database, and a superuser who looks on."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.support.places import Places, open_admin, open_places
from tiergate.embedded import Cluster

Admin = psycopg.AsyncConnection[tuple[object, ...]]


@pytest.fixture(scope="module")
async def places(postgres: Cluster) -> AsyncIterator[Places]:
    async with open_places(postgres) as opened:
        yield opened


@pytest.fixture
async def admin(places: Places) -> AsyncIterator[Admin]:
    async with open_admin(places.admin(places.shared)) as connection:
        yield connection
