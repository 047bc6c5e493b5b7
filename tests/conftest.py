"""Fixtures that every folder of the suite may use. Servers are started when a test first asks."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import (
    ThreeClusters,
    open_database,
    open_test_cluster,
    open_three_clusters,
)
from tiergate.embedded import Cluster

_HERE = Path(__file__).parent
_FOLDERS = ("unit", "integration", "acceptance", "adversity", "attacks")


def pytest_configure() -> None:
    """Let the programs under test hear Ctrl-C, also where the suite runs in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the folder it lives in."""
    for item in items:
        folder = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
        if folder in _FOLDERS:
            item.add_marker(folder)


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[Cluster]:
    """One server for the whole session (of one xdist worker)."""
    async with open_test_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
async def three_clusters() -> AsyncIterator[ThreeClusters]:
    """Three servers, one a tier, for the whole session (of one xdist worker)."""
    async with open_three_clusters() as clusters:
        yield clusters


@pytest.fixture
async def database(postgres: Cluster) -> AsyncIterator[str]:
    """The superuser's conninfo of a fresh, empty database, dropped after the test."""
    async with open_database(postgres) as conninfo:
        yield conninfo


@pytest.fixture(scope="module")
async def module_database(postgres: Cluster) -> AsyncIterator[str]:
    """As `database`, but one for all tests of a module; they share what is in it."""
    async with open_database(postgres) as conninfo:
        yield conninfo
