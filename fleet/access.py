"""The superuser's way into a cluster. For provisioning only; no request ever passes here."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from fleet.errors import (
    ClusterUnfit,
    ClusterUnreachable,
    NotSuperuser,
    ProvisioningFailed,
    ProvisioningTimeout,
)
from registry.records import Cluster
from tiergate.deadline import Deadline

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

OLDEST_MAJOR = 15
# Long enough for a busy tenant's usual statement, short enough for those who queue behind us.
LOCK_TIMEOUT = "5s"
# Who does not answer by then is down, however much time there is: others wait for whoever waits here.
CONNECT_S = 10.0
# Numbers of ours among a database's advisory locks; tiergate.enter() uses TENANT_LOCKS too.
TENANT_LOCKS = 1413959000
FLEET_LOCKS = 1413959001
# Among these: shared by who writes rows of all tenants, exclusive for who needs a moment without that.
ALL_ROWS = "rows of all tenants"


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """One Postgres server, and the superuser who arranges things on it.

    Attributes:
        conninfo: libpq keyword/value string or URL with host, port and TLS.
        database: Where the cluster's own tenants live; for a government cluster, where we enter.
        registry: Fingerprint of the registry that keeps the cluster; only that one arranges things there.
    """

    name: str
    conninfo: str
    database: str
    user: str
    password: str = field(repr=False)
    registry: str = ""


def access_of(cluster: Cluster) -> ClusterAccess:
    """The administrator's way into a cluster that the registry knows."""
    return ClusterAccess(
        cluster.name, cluster.conninfo, cluster.database, cluster.admin_user, cluster.admin_password
    )


@asynccontextmanager
async def bounded(cluster: ClusterAccess, step: str, deadline: Deadline) -> AsyncIterator[None]:
    """Ends what is inside at the deadline, and tells its driver errors in our words.

    Args:
        step: What is being done, as in "could not …".

    Raises:
        ProvisioningTimeout: The deadline, or the wait for a lock, is over.
        ClusterUnreachable: No connection, or it broke.
        ProvisioningFailed: The server refused.
    """
    try:
        async with asyncio.timeout_at(deadline.at_s):
            yield
    except (TimeoutError, pg.LockNotAvailable, pg.QueryCanceled) as exc:
        raise ProvisioningTimeout(cluster.name, step) from exc
    except psycopg.Error as exc:
        if is_outage(exc):
            raise ClusterUnreachable(cluster.name, _reason(exc)) from exc
        raise ProvisioningFailed(cluster.name, step, exc.sqlstate, _reason(exc)) from exc


def is_outage(exc: psycopg.Error) -> bool:
    """Whether the server is gone, going, full, or interrupted us; not whether it minds the SQL.

    Source:
        PostgreSQL 18, appendix A, classes 08, 53 and 57; without a code libpq itself speaks.
    """
    if exc.sqlstate is None:
        return isinstance(exc, psycopg.OperationalError)
    return exc.sqlstate[:2] in {"08", "53", "57"}


@asynccontextmanager
async def open_admin(cluster: ClusterAccess, database: str, deadline: Deadline) -> AsyncIterator[Connection]:
    """A superuser's connection to *database*, in autocommit; use inside `bounded`.

    Raises:
        ClusterUnreachable: The conninfo cannot be read.
        ClusterUnfit: The server is too old, or the database not in UTF-8.
        NotSuperuser: The login is no superuser.
    """
    where = _conninfo(cluster, database, deadline)
    async with await psycopg.AsyncConnection.connect(where, autocommit=True) as connection:
        _check(cluster, connection, database)
        # A superuser with "public" in the search path runs whatever somebody planted there.
        await connection.execute(
            "SELECT set_config('search_path', 'pg_catalog, pg_temp', false),"
            " set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),"
            " set_config('client_min_messages', 'warning', false),"
            " set_config('default_transaction_isolation', 'read committed', false),"
            " set_config('default_transaction_read_only', 'off', false)",
            (LOCK_TIMEOUT, str(max(1, math.ceil(deadline.left_s() * 1000)))),
        )
        yield connection


def _check(cluster: ClusterAccess, connection: Connection, database: str) -> None:
    # What the server reports of itself at the start; no query is needed, nor a right to ask one.
    info = connection.info
    if info.parameter_status("is_superuser") != "on":
        raise NotSuperuser(cluster.name, cluster.user)
    if (major := info.server_version // 10000) < OLDEST_MAJOR:
        raise ClusterUnfit(
            cluster.name, f"it runs PostgreSQL {major}, and {OLDEST_MAJOR} is the oldest that will do"
        )
    if (encoding := info.parameter_status("server_encoding")) != "UTF8":
        raise ClusterUnfit(
            cluster.name, f"database {database!r} is in {encoding}, and only UTF8 holds every text"
        )


def _conninfo(cluster: ClusterAccess, database: str, deadline: Deadline) -> str:
    within_s = min(deadline.left_s(), CONNECT_S)
    try:
        return make_conninfo(
            cluster.conninfo,
            user=cluster.user,
            password=cluster.password,
            dbname=database,
            connect_timeout=max(1, math.ceil(within_s / _hosts(cluster.conninfo))),
            application_name="tiergate provisioning",
        )
    except psycopg.ProgrammingError:
        # libpq's complaint quotes the string, which may hold a password: neither told nor chained.
        raise ClusterUnreachable(cluster.name, "its conninfo cannot be read") from None


def _hosts(conninfo: str) -> int:
    """How many may be tried, one after the other, each with a share of the time."""
    keywords = conninfo_to_dict(conninfo)
    return str(keywords.get("host") or keywords.get("hostaddr") or "").count(",") + 1


def _reason(exc: psycopg.Error) -> str:
    return exc.diag.message_primary or " ".join(str(exc).split())
