"""A cluster is made ready once, by whoever comes, and stays so."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from fleet.errors import (
    ClusterUnfit,
    ClusterUnreachable,
    ContextKeyConflict,
    NotSuperuser,
    PlaceTaken,
    ProvisioningTimeout,
)
from tests.integration.test_fleet_door import Fleet, access_of, login_of, open_fleet, soon
from tests.support.postgres import open_test_cluster, run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

OURS = ("tiergate_owner", "tiergate_context", "tiergate_app", "tiergate_premium")


@pytest.fixture(scope="module")
async def fleet(postgres: Cluster) -> AsyncIterator[Fleet]:
    async with open_fleet(postgres) as opened:
        yield opened


async def prepare_standard(fleet: Fleet) -> None:
    await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=fleet.shared)


async def test_nobody_logs_in_as_a_role_that_owns_or_groups(fleet: Fleet) -> None:
    rows = await run_sql(
        fleet.admin(),
        "SELECT rolname FROM pg_roles WHERE rolname IN " + str(OURS) + " AND NOT (rolcanlogin OR rolsuper"
        " OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
    )

    assert {name for (name,) in rows} == set(OURS)


async def test_the_gate_is_a_member_of_the_sandbox_role_alone_and_inherits_nothing(fleet: Fleet) -> None:
    rows = await run_sql(
        fleet.admin(),
        "SELECT roleid::regrole::text, rolinherit, rolconnlimit FROM pg_roles JOIN pg_auth_members"
        f" ON member = pg_roles.oid WHERE rolname = '{fleet.shared.login}'",
    )

    assert rows == [("tiergate_app", False, -1)]


async def test_the_gate_cannot_become_the_owner_or_read_the_keys(fleet: Fleet) -> None:
    async with await psycopg.AsyncConnection.connect(login_of(fleet.shared), autocommit=True) as connection:
        for forbidden in (
            "SET ROLE tiergate_owner",
            "SET ROLE tiergate_context",
            "SELECT * FROM tiergate.context_key",
            "SELECT * FROM tiergate.fence",
            "SELECT * FROM app.members",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(forbidden.encode())


async def test_tenant_sql_cannot_call_enter_from_the_sandbox_role(fleet: Fleet) -> None:
    async with await psycopg.AsyncConnection.connect(login_of(fleet.shared), autocommit=True) as connection:
        await connection.execute("SET ROLE tiergate_app")

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT tiergate.enter('a', 'b', 1, 1, 1, 'c', 1)")


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_a_login_connects_to_no_other_database(fleet: Fleet, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await psycopg.AsyncConnection.connect(login_of(fleet.shared, database))


async def test_preparing_again_changes_no_password_and_lays_nothing_anew(fleet: Fleet) -> None:
    state = (
        "SELECT (SELECT rolpassword FROM pg_authid WHERE rolname = '" + fleet.shared.login + "'),"
        " (SELECT xmin::text FROM pg_proc WHERE oid = 'tiergate.protect'::regproc),"
        " (SELECT xmin::text FROM pg_proc WHERE oid = 'pg_catalog.setseed'::regproc),"
        " (SELECT xmin::text FROM pg_class WHERE oid = 'app.members'::regclass)"
    )
    before = await run_sql(fleet.admin(), state)

    await prepare_standard(fleet)

    assert await run_sql(fleet.admin(), state) == before


async def test_several_gateways_may_prepare_at_once(postgres: Cluster) -> None:
    async with open_fleet(postgres) as fleet:
        await run_sql(fleet.admin(), "DROP SCHEMA tiergate, app CASCADE")

        await asyncio.gather(*(prepare_standard(fleet) for _ in range(6)))

        await fleet.create(Tier.STANDARD)


async def test_clusters_that_share_a_server_may_be_prepared_at_once(postgres: Cluster) -> None:
    async with open_fleet(postgres) as one, open_fleet(postgres) as other:
        await asyncio.gather(*(prepare_standard(fleet) for fleet in (one, other) * 3))

        await other.create(Tier.STANDARD)


async def test_a_password_that_drifted_is_set_back(fleet: Fleet) -> None:
    await run_sql(fleet.admin(), f"ALTER ROLE {fleet.shared.login} PASSWORD 'other' VALID UNTIL '2001-01-01'")

    await prepare_standard(fleet)

    await run_sql(login_of(fleet.shared))


async def test_powers_that_somebody_gave_a_login_are_taken_back(fleet: Fleet) -> None:
    await run_sql(
        fleet.admin(), f"ALTER ROLE {fleet.shared.login} BYPASSRLS INHERIT; ALTER ROLE tiergate_app LOGIN"
    )

    await prepare_standard(fleet)

    rows = await run_sql(
        fleet.admin(),
        "SELECT rolbypassrls, rolinherit, (SELECT rolcanlogin FROM pg_roles WHERE rolname = 'tiergate_app')"
        f" FROM pg_roles WHERE rolname = '{fleet.shared.login}'",
    )
    assert rows == [(False, False, False)]


async def test_a_login_that_serves_something_else_is_not_taken_over(fleet: Fleet) -> None:
    other = replace(fleet.shared, login="somebody_else")
    await run_sql(fleet.admin(), "CREATE ROLE a_group; CREATE ROLE somebody_else IN ROLE a_group")

    try:
        with pytest.raises(PlaceTaken, match="a_group"):
            await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=other)
    finally:
        await run_sql(fleet.admin(), "DROP ROLE somebody_else; DROP ROLE a_group")


async def test_whoever_may_act_as_the_owner_of_the_keys_stops_the_cluster(fleet: Fleet) -> None:
    await run_sql(fleet.admin(), "CREATE ROLE curious IN ROLE tiergate_context")

    try:
        with pytest.raises(ClusterUnfit, match="curious"):
            await prepare_standard(fleet)
    finally:
        await run_sql(fleet.admin(), "DROP ROLE curious")


async def test_another_context_key_under_our_number_is_refused(fleet: Fleet) -> None:
    stranger = replace(fleet.shared, context_key=b"k" * 32)

    with pytest.raises(ContextKeyConflict):
        await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon(), shared=stranger)


async def test_databases_left_open_to_everybody_are_told(fleet: Fleet, database: str) -> None:
    open_one = access_of(database).database

    prepared = await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, soon())
    told = prepared.open_databases

    assert open_one in told
    assert fleet.access.database not in told


async def test_a_login_that_is_no_superuser_is_refused(fleet: Fleet) -> None:
    weak = replace(fleet.access, user=fleet.shared.login, password=fleet.shared.password)

    with pytest.raises(NotSuperuser, match=fleet.shared.login):
        await fleet.provisioner.prepare_cluster(weak, Tier.STANDARD, soon())


async def test_a_database_that_is_not_in_utf8_is_refused(fleet: Fleet) -> None:
    await run_sql(
        fleet.admin(),
        "CREATE DATABASE old_text TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )

    try:
        with pytest.raises(ClusterUnfit, match="LATIN1"):
            await fleet.provisioner.prepare_cluster(
                replace(fleet.access, database="old_text"), Tier.STANDARD, soon()
            )
    finally:
        await run_sql(fleet.admin(), "DROP DATABASE old_text")


@pytest.mark.parametrize(
    "change",
    [
        {"conninfo": make_conninfo(host="127.0.0.1", port=1)},
        {"conninfo": "host=127.0.0.1 hunter2"},
        {"password": "hunter2"},
        {"database": "no_such_database"},
    ],
    ids=["no server", "no conninfo", "wrong password", "no database"],
)
async def test_a_cluster_that_cannot_be_entered_says_so_without_a_password(
    fleet: Fleet, change: dict[str, str]
) -> None:
    with pytest.raises(ClusterUnreachable) as refused:
        await fleet.provisioner.prepare_cluster(replace(fleet.access, **change), Tier.STANDARD, soon())

    told = f"{refused.value!s} {refused.value.__cause__!r} {replace(fleet.access, **change)!r}"
    assert fleet.access.password not in told
    assert "hunter2" not in str(refused.value)


async def test_a_server_that_stands_still_costs_no_more_than_the_deadline(fleet: Fleet) -> None:
    async with await psycopg.AsyncConnection.connect(fleet.admin()) as other:
        await other.execute("LOCK TABLE pg_catalog.pg_shdescription")

        with pytest.raises(ProvisioningTimeout):
            await fleet.provisioner.prepare_cluster(fleet.access, Tier.STANDARD, Deadline.after(0.5))


async def test_a_cluster_may_be_prepared_on_the_database_that_everybody_has() -> None:
    async with open_test_cluster() as server, open_fleet(server) as fleet:
        access = access_of(server.conninfo())
        place = replace(fleet.shared, database="postgres", login="gate_of_postgres")

        await fleet.provisioner.prepare_cluster(access, Tier.STANDARD, soon(), shared=place)

        await run_sql(login_of(place))
