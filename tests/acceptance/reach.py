"""How the suites of clients reach a running gateway: what the fixture `gateway` gives them."""

import os
from collections.abc import Mapping
from typing import NoReturn, Protocol

import pytest

from tiergate.tenant import Tier


class RunningTenant(Protocol):
    """A tenant as `.tiergate/demo.json` tells it."""

    @property
    def tier(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def connection_string(self) -> str: ...


class RunningGateway(Protocol):
    """A gateway with tenants on all three tiers, each with the example application's tables.

    Attributes:
        url: Base address of the gateway; `/sql` follows.
        admin: Base address of the admin API.
        admin_key: Key of the admin API.
    """

    @property
    def url(self) -> str: ...
    @property
    def admin(self) -> str: ...
    @property
    def admin_key(self) -> str: ...
    @property
    def tenants(self) -> Mapping[str, RunningTenant]: ...

    async def direct(self, tenant: str) -> str:
        """The libpq conninfo of the login role that the gateway uses for *tenant*, password included."""
        ...


def tenant_of(gateway: RunningGateway, tier: Tier) -> tuple[str, RunningTenant]:
    """The first tenant on *tier*, with its name."""
    return next((name, tenant) for name, tenant in sorted(gateway.tenants.items()) if tenant.tier == tier)


def lacking(what: str) -> NoReturn:
    """Skip, saying what this machine lacks; on CI, which has everything, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {what}")
    pytest.skip(what)
