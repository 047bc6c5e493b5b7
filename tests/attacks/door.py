"""The front door: SQL over HTTP at a gateway in a process of its own, with all lines in place."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from registry.placement import Placement
from tests.attacks.ground import LOOK_ROWS, Party, open_ground
from tests.attacks.ours import words_for
from tests.attacks.ring import Reply, Ring
from tests.support.gateways import Site, open_gateway, open_site
from tests.support.http import Door, open_door
from tests.support.places import login_of
from tests.support.postgres import open_database, server_folder, url_of
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import TenantId, Tier


@asynccontextmanager
async def open_both(server: Cluster, tier: Tier) -> AsyncIterator[Ring]:
    """The duel of two tenants of a real gateway."""
    async with (
        open_database(server) as registry,
        open_database(server) as home,
        _open_folder_site(registry) as site,
    ):
        deadline = Deadline.after(60)
        operations = site.operations
        await operations.add_cluster(tier, tier, url_of(home), region=None, actor="test", deadline=deadline)
        placements: list[Placement] = []
        for _ in range(3):
            name = TenantId(f"t-{time.monotonic_ns():x}")
            await operations.create_tenant(
                name, tier, region=None, cluster=tier, actor="test", deadline=deadline
            )
            placement = await site.store.route(name)
            assert placement is not None
            placements.append(placement)
        async with (
            open_gateway(site.folder, site.registry_url) as gateway,
            open_door(gateway.url) as door,
            _open_ring(site, door, server, placements) as ring,
        ):
            yield ring


@asynccontextmanager
async def _open_folder_site(registry: str) -> AsyncIterator[Site]:
    with server_folder() as folder:
        async with open_site(folder, url_of(registry)) as site:
            yield site


@asynccontextmanager
async def _open_ring(
    site: Site, door: Door, server: Cluster, placements: Sequence[Placement]
) -> AsyncIterator[Ring]:
    attacker, victim, hidden = placements
    mine, theirs = [await site.create_key(one.tenant) for one in (attacker, victim)]

    async def strike(texts: Sequence[str]) -> Reply:
        return _reply(await door.batch(mine, *texts, neon_array_mode="true"))

    async def look() -> str:
        """Only what the guard lets a tenant ask; what sessions keep is looked at without it."""
        return _reply(await door.batch(theirs, LOOK_ROWS)).text

    async def renew() -> None:
        """The gateway closes by itself what is not as it was."""

    bystander = replace(victim.place, conninfo=server.address)
    async with open_ground(
        _party(server, attacker), _party(server, victim), _party(server, hidden), login_of(bystander)
    ) as ground:
        words = words_for(victim, ground, f"{1:010d}{'1' * 64}{victim.tenant}")
        yield Ring(strike, look, ground, words, renew)


def _party(server: Cluster, one: Placement) -> Party:
    names = frozenset[str]() if one.tier is Tier.STANDARD else frozenset({str(one.place.id)})
    return Party(one.tenant, server.conninfo(one.place.database), one.place.schema, names)


def _reply(answer: httpx.Response) -> Reply:
    """An answer as it came; a refusal for want of time or room proves nothing, so it must not happen."""
    assert answer.status_code not in {429, 503}, answer.text
    told = answer.json()
    results = told.get("results", [])
    last = tuple(value for row in results[-1]["rows"] for value in row) if results else ()
    return Reply(answer.text, tuple(None if value is None else str(value) for value in last))
