"""A database and a login serve one cluster of one registry; whoever comes second is refused, unchanged."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from fleet.errors import ClusterTaken, ContextKeyConflict, WrongServer
from fleet.identity import recognize
from tests.integration.test_fleet_door import Fleet, access_of, login_of, open_fleet, soon
from tests.support.postgres import open_database, run_sql
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

EVERYTHING = """
SELECT (SELECT md5(string_agg(t::text, '|' ORDER BY oid)) FROM pg_authid AS t),
    (SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM pg_db_role_setting AS t),
    (SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM pg_auth_members AS t),
    (SELECT md5(t::text) FROM pg_database AS t WHERE datname = current_database()),
    (SELECT md5(string_agg(xmin::text, '|' ORDER BY oid)) FROM pg_class),
    (SELECT md5(string_agg(xmin::text, '|' ORDER BY oid)) FROM pg_proc),
    (SELECT md5(string_agg(xmin::text, '|' ORDER BY oid)) FROM pg_namespace)
"""


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("change", [{"name": "second"}, {"registry": "another"}])
async def test_a_database_of_another_cluster_is_refused_before_anything_changes(
    fleet: Fleet, tier: Tier, change: dict[str, str]
) -> None:
    stranger = replace(fleet.access, **change)
    place = replace(fleet.shared, password="a stranger's") if tier is Tier.STANDARD else None
    before = await run_sql(fleet.admin(), EVERYTHING)

    with pytest.raises(ClusterTaken, match="is that of cluster 'main'"):
        await fleet.provisioner.prepare_cluster(stranger, tier, soon(), shared=place)

    assert await run_sql(fleet.admin(), EVERYTHING) == before
    await run_sql(login_of(fleet.shared))


async def test_a_gate_that_serves_another_database_is_refused_before_anything_changes(
    fleet: Fleet, database: str
) -> None:
    second = access_of(database, "second")
    place = replace(fleet.shared, database=second.database, password="a stranger's")
    before = await run_sql(database, EVERYTHING)

    for known in ({"shared": place}, {"gate": place.login}):
        with pytest.raises(ClusterTaken, match=f"serves database '{fleet.access.database}'"):
            await fleet.provisioner.prepare_cluster(second, Tier.STANDARD, soon(), **known)

    assert await run_sql(database, EVERYTHING) == before
    await run_sql(login_of(fleet.shared))


async def test_of_two_clusters_that_claim_a_database_at_once_one_gets_it(fleet: Fleet, database: str) -> None:
    names = ("one", "two", "three")

    told = await asyncio.gather(
        *(
            fleet.provisioner.prepare_cluster(access_of(database, name), Tier.PREMIUM, soon())
            for name in names
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(each, ClusterTaken) for each in told) == 2
    assert not [
        each for each in told if isinstance(each, BaseException) and not isinstance(each, ClusterTaken)
    ]


async def test_keys_without_an_identity_are_somebodys(fleet: Fleet, postgres: Cluster) -> None:
    async with open_fleet(postgres) as other:
        await run_sql(other.admin(), "DROP TABLE tiergate.identity")

        with pytest.raises(ClusterTaken, match="does not say of which cluster"):
            await other.provisioner.prepare_cluster(other.access, Tier.PREMIUM, soon())


async def test_a_database_that_was_dropped_leaves_its_gate_to_the_next(
    fleet: Fleet, postgres: Cluster
) -> None:
    async with open_fleet(postgres) as given_up:
        place = given_up.shared
    async with open_database(postgres) as conninfo:
        access = replace(access_of(conninfo, "second"), registry="another")
        own = replace(place, database=access.database, password=secrets.token_urlsafe(32))

        await fleet.provisioner.prepare_cluster(access, Tier.STANDARD, soon(), shared=own)

        await run_sql(login_of(own))


async def test_clusters_of_different_tiers_may_share_a_server(fleet: Fleet, database: str) -> None:
    second = access_of(database, "second")

    await fleet.provisioner.prepare_cluster(second, Tier.PREMIUM, soon())

    await run_sql(login_of(fleet.shared))


async def test_another_context_key_is_refused_before_the_password_changes(fleet: Fleet) -> None:
    stranger = replace(fleet.shared, context_key=b"k" * 32, password="a stranger's")

    with pytest.raises(ContextKeyConflict):
        await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=stranger)

    await run_sql(login_of(fleet.shared))


async def test_nobody_but_a_superuser_reads_or_changes_the_identity(fleet: Fleet) -> None:
    async with await psycopg.AsyncConnection.connect(login_of(fleet.shared), autocommit=True) as connection:
        for forbidden in ("SELECT * FROM tiergate.identity", "DELETE FROM tiergate.identity"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(forbidden.encode())


async def test_a_cluster_is_recognized_wherever_it_answers(fleet: Fleet, database: str) -> None:
    await recognize(fleet.access, soon())

    with pytest.raises(WrongServer):
        await recognize(access_of(database, "main"), soon())
    with pytest.raises(ClusterTaken):
        await recognize(replace(fleet.access, name="second"), soon())
