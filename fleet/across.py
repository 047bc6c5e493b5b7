"""One statement over every tenant of a place, for the one door that reads across tenants.

The administrator's connection becomes, for one transaction, a role that passes by row-level security and
may nothing else: it cannot log in, nobody is a member of it, and it exists on a server only once the door
was used there. No request ever passes here.

Source:
    PostgreSQL 18, SET SESSION AUTHORIZATION: unlike after SET ROLE, the session's user is that role, too,
    so that no role can be entered from there.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from fleet import roles
from fleet.access import ALL_ROWS, FLEET_LOCKS, ClusterAccess, Connection, bounded, is_outage, open_admin
from fleet.errors import AcrossFailed, ClusterUnfit
from fleet.identifier import quote_identifier
from pools.statement import Fenced
from registry.placement import Place
from tiergate.deadline import Deadline, finish

READER = "tiergate_across"
WRITER = "tiergate_across_write"

_HANG_UP_S = 4.0

Take = Callable[[Sequence[str], Sequence[str | None]], Awaitable[None]]
"""Is given each row: names of the columns, and values as Postgres writes them."""


@dataclass(frozen=True, slots=True)
class Question:
    """A statement for many places.

    Attributes:
        writes: Else its transactions are READ ONLY, and its role has SELECT alone.
        timeout_s: For the statement in one place.
    """

    writes: bool
    timeout_s: float

    @property
    def role(self) -> str:
        """Who asks."""
        return WRITER if self.writes else READER


async def ask(
    cluster: ClusterAccess, place: Place, question: Question, fenced: Fenced, take: Take, deadline: Deadline
) -> int:
    """Run the statement in *place*, in a transaction of its own; the rows it gave or changed.

    Whatever goes wrong, *take* included, the transaction is rolled back.

    Raises:
        AcrossFailed: Postgres refused the statement.
        ClusterUnfit: The role is not as it must be.
        ClusterUnreachable, NotSuperuser, ProvisioningTimeout, ProvisioningFailed: See fleet/errors.py.
    """
    async with (
        bounded(cluster, f"ask place {place.id}", deadline),
        open_admin(cluster, place.database, deadline) as admin,
    ):
        await _let(admin, cluster, place.schema, question)
        await admin.execute(b"BEGIN READ WRITE" if question.writes else b"BEGIN READ ONLY")
        if question.writes:  # past every fence: a tenant that changes its place meanwhile would lose it
            await admin.execute(
                "SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (FLEET_LOCKS, ALL_ROWS)
            )
        await _enter(admin, place.schema, question)
        count = await _run(admin, place, fenced, take)
        if admin.pgconn.transaction_status != TransactionStatus.INTRANS:
            raise AcrossFailed(place.id, "25000", "the statement left its transaction")
        try:
            await admin.execute(b"COMMIT")
        except psycopg.Error as exc:  # a deferred constraint
            raise _failed(place, exc) from exc
        return count


async def _enter(admin: Connection, schema: str, question: Question) -> None:
    timeout_ms = max(1, math.ceil(question.timeout_s * 1000))
    wanted = {
        **roles.SESSION,
        "default_transaction_read_only": "off" if question.writes else "on",
        "statement_timeout": str(timeout_ms),
        "search_path": f"{quote_identifier(schema)}, pg_temp",
    }
    await admin.execute(
        "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS each (name, value)",
        (list(wanted), list(wanted.values())),
    )
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {question.role}".encode())


async def _run(admin: Connection, place: Place, fenced: Fenced, take: Take) -> int:
    """Send the statement by the extended protocol, which takes one; rows come one by one."""
    try:
        count, failed = await _results(admin, fenced, take)
    except BaseException:
        await finish(_hang_up(admin), within_s=_HANG_UP_S)
        raise
    if failed is None:
        return count
    if is_outage(failed) and not isinstance(failed, psycopg.errors.QueryCanceled):
        raise failed
    raise _failed(place, failed) from failed


async def _results(admin: Connection, fenced: Fenced, take: Take) -> tuple[int, psycopg.Error | None]:
    pgconn = admin.pgconn
    pgconn.send_query_params(fenced.sql, None)
    pgconn.set_single_row_mode()
    await admin.wait(generators.send(pgconn))
    names: list[str] = []
    count = 0
    failed: psycopg.Error | None = None
    while (found := await admin.wait(generators.fetch(pgconn))) is not None:
        match found.status:
            case ExecStatus.SINGLE_TUPLE:
                names = names or [_text(found.fname(at)) or "" for at in range(found.nfields)]
                count += 1
                await take(names, _values(found))
            case ExecStatus.TUPLES_OK:
                pass
            case ExecStatus.COMMAND_OK:
                count = found.command_tuples or 0
            case _:
                failed = psycopg.errors.error_from_result(found, encoding="utf-8")
    return count, failed


async def _hang_up(admin: Connection) -> None:
    """Have the server stop, which rolls back; nobody reads what it has sent."""
    with suppress(psycopg.Error):
        await admin.cancel_safe(timeout=_HANG_UP_S / 2)
    admin.pgconn.finish()


def _values(found: PGresult) -> list[str | None]:
    return [_text(found.get_value(0, at)) for at in range(found.nfields)]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _failed(place: Place, exc: psycopg.Error) -> AcrossFailed:
    return AcrossFailed(place.id, exc.sqlstate or "", exc.diag.message_primary or type(exc).__name__)


async def _let(admin: Connection, cluster: ClusterAccess, schema: str, question: Question) -> None:
    """Make the role and give it its grants, unless all is so; refuse one that others could become."""
    if await _is_let(admin, cluster, schema, question):
        return
    async with admin.transaction():
        await roles.lock_server(admin)
        cursor = await admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (question.role,))
        verb = "CREATE" if await cursor.fetchone() is None else "ALTER"
        await admin.execute(f"{verb} ROLE {question.role} {_ATTRIBUTES}".encode())
        await _grant(admin, schema, question)
    if not await _is_let(admin, cluster, schema, question):
        raise ClusterUnfit(cluster.name, f"the grants of {question.role} did not take")


_ATTRIBUTES = "NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS"
_ROLE = """
SELECT NOT (rolcanlogin OR rolinherit OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication)
    AND rolbypassrls,
    (SELECT string_agg(member::regrole::text, ', ') FROM pg_auth_members WHERE roleid = r.oid),
    (SELECT string_agg(roleid::regrole::text, ', ') FROM pg_auth_members WHERE member = r.oid)
FROM pg_roles AS r WHERE rolname = %s
"""
_GRANTED = """
SELECT has_schema_privilege(%(role)s, n.oid, 'USAGE') AND NOT EXISTS (
    SELECT FROM pg_class AS c WHERE relnamespace = n.oid AND relkind IN ('r', 'p', 'v') AND NOT (
        has_table_privilege(%(role)s, c.oid, 'SELECT') AND (NOT %(writes)s OR
            has_table_privilege(%(role)s, c.oid, 'INSERT') AND has_table_privilege(%(role)s, c.oid, 'DELETE')
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                AND NOT attisdropped AND attname <> 'tenant_id'
                AND NOT has_column_privilege(%(role)s, c.oid, attnum, 'UPDATE')))))
FROM pg_namespace AS n WHERE nspname = %(schema)s
"""
_COLUMNS = """
SELECT c.oid::regclass::text, string_agg(quote_ident(attname), ', ' ORDER BY attnum)
FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid
WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p', 'v')
    AND attnum > 0 AND NOT attisdropped AND attname <> 'tenant_id'
GROUP BY c.oid
"""


async def _is_let(admin: Connection, cluster: ClusterAccess, schema: str, question: Question) -> bool:
    found = await (await admin.execute(_ROLE, (question.role,))).fetchone()
    if found is None:
        return False
    is_so, members, memberships = found
    if members is not None:
        raise ClusterUnfit(cluster.name, f"{members} may act as {question.role}, which reads every tenant")
    if memberships is not None:
        raise ClusterUnfit(cluster.name, f"{question.role} is a member of {memberships}, and must be of none")
    wanted = {"role": question.role, "schema": schema, "writes": question.writes}
    granted = await (await admin.execute(_GRANTED, wanted)).fetchone()
    return bool(is_so and granted is not None and granted[0])


async def _grant(admin: Connection, schema: str, question: Question) -> None:
    where = quote_identifier(schema)
    rights = "SELECT, INSERT, DELETE" if question.writes else "SELECT"
    await admin.execute(
        f"GRANT USAGE ON SCHEMA {where} TO {question.role};"
        f"GRANT {rights} ON ALL TABLES IN SCHEMA {where} TO {question.role}".encode()
    )
    if question.writes:  # a row stays its tenant's
        for table, columns in await (await admin.execute(_COLUMNS, (where,))).fetchall():
            await admin.execute(f"GRANT UPDATE ({columns}) ON {table} TO {question.role}".encode())
