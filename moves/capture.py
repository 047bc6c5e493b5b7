"""Remembers which of a tenant's rows change while a move goes on.

Triggers on every table write the keys of the tenant's changed rows into tiergate.dirty, in the transaction
that changes them; every other tenant pays for the comparison of a name. Values are not read, so wide ones
stay where they are. One function a table and move, in a schema of their own, so that its SQL is fixed.

Locks are asked for briefly and again: whoever waits for a lock makes everybody behind him wait too.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence

from psycopg import errors as pg

from fleet.access import Connection
from fleet.identifier import quote_identifier, quote_literal
from moves.tables import Table
from registry.moves import MoveId
from tiergate.tenant import TenantId

_LOCK_TIMEOUT = "100ms"
# Shorter than that: a vacuum that the server runs by itself gives way only to who has looked for deadlocks.
_DEADLOCK_TIMEOUT = "50ms"
# Who has the lock, and says nothing for that long, has lost it: the whole table's writers wait behind us.
_STANDS_STILL = "2s"
_FIRST_REST_S, _LONGEST_REST_S = 0.05, 1.0
_LOG_AT_ONCE = 10_000
# Types whose text is the same under all settings; for others the settings are pinned, some µs a row.
_PLAIN = frozenset(
    {
        "bigint", "boolean", "bpchar", "character varying", "integer", "name", "numeric", "smallint", "text",
        "uuid",
    }
)  # fmt: skip
_PINS = (
    " SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC' SET extra_float_digits = 1"
    " SET bytea_output = hex SET lc_monetary = 'C'"
)
# A plain table is no tree.
_PARTS = "SELECT to_regclass({0}) UNION SELECT relid FROM pg_partition_tree(to_regclass({0}))"
_ROW_EVENTS = {
    "insert": "NEW.tenant_id = {0}",
    "update": "NEW.tenant_id = {0} OR OLD.tenant_id = {0}",
    "delete": "OLD.tenant_id = {0}",
}


async def install(
    connection: Connection,
    move: MoveId,
    tenant: TenantId,
    schema: str,
    tables: Sequence[Table],
    *,
    always: bool,
    allowed: Callable[[], Awaitable[None]],
) -> None:
    """Begin to log *tenant*'s changes; a table that is watched already is left alone. In autocommit.

    Each table waits until those who write to it now are done, and is asked again until it has been had:
    bound it all by a timeout.

    Args:
        always: Log whatever the session; else not where session_replication_role is "replica", as it is
            for a mover, whose rows are no changes.
        allowed: Raises what forbids it; asked in each transaction that makes triggers, and must hold until
            its end: what a worker makes that is not believed alive any more, nobody would remove.
    """
    for table in tables:

        async def watch(table: Table = table) -> None:
            await allowed()
            if not await is_installed(connection, move, schema, (table,), always=always):
                await _watch(connection, move, tenant, schema, table, always=always)

        await _insist(connection, watch)


async def is_installed(
    connection: Connection, move: MoveId, schema: str, tables: Sequence[Table], *, always: bool
) -> bool:
    """Whether every change to these tables is logged for the move, in partitions too."""
    cursor = await connection.execute(
        "SELECT count(*) FROM unnest(%s::text[]) AS whole (name)"  # noqa: S608 - a constant
        f" CROSS JOIN LATERAL ({_PARTS.format('name')}) AS part (part)"
        " CROSS JOIN unnest(%s::text[]) AS event WHERE NOT EXISTS ("
        " SELECT FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid"
        " WHERE tgrelid = part AND starts_with(proname, %s)"
        " AND pronamespace = to_regnamespace('tiergate_moves') AND tgenabled = %s"
        " AND event = CASE WHEN tgtype & 4 > 0 THEN 'insert' WHEN tgtype & 8 > 0 THEN 'delete'"
        " WHEN tgtype & 16 > 0 THEN 'update' ELSE 'truncate' END)",
        (
            [table.within(schema) for table in tables],
            [*_ROW_EVENTS, "truncate"],
            _prefix(move),
            "A" if always else "O",
        ),
    )
    return await cursor.fetchone() == (0,)


async def remove(connection: Connection, move: MoveId, schema: str) -> None:
    """Stop logging for the move and forget what was logged, whatever is left of it. In autocommit.

    Tries for locks as `install` does. Dropping a trigger waits for readers of the table too.
    """
    cursor = await connection.execute(
        "SELECT format('DROP TRIGGER IF EXISTS %%I ON %%s', tgname, tgrelid::regclass)"
        " FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid"
        " WHERE pronamespace = to_regnamespace('tiergate_moves') AND starts_with(proname, %s)"
        " AND tgparentid = 0 AND (SELECT relnamespace FROM pg_class WHERE oid ="
        " coalesce(pg_partition_root(tgrelid), tgrelid)) = to_regnamespace(%s)",
        (_prefix(move), quote_identifier(schema)),
    )
    for (drop,) in await cursor.fetchall():

        async def unwatch(drop: str = drop) -> None:
            await connection.execute(drop.encode())

        await _insist(connection, unwatch)
    cursor = await connection.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE pronamespace = to_regnamespace('tiergate_moves') AND starts_with(proname, %s)",
        (_prefix(move),),
    )
    for (function,) in await cursor.fetchall():
        await connection.execute(f"DROP FUNCTION IF EXISTS {function}".encode())
    while (
        await connection.execute(
            "DELETE FROM tiergate.dirty WHERE ctid = ANY (ARRAY("
            "SELECT ctid FROM tiergate.dirty WHERE move_id = %s LIMIT %s))",
            (move, _LOG_AT_ONCE),
        )
    ).rowcount:
        pass


async def count_dirty(connection: Connection, move: MoveId) -> int:
    """How many changes are logged and not yet brought over; a row changed twice counts twice."""
    cursor = await connection.execute("SELECT count(*) FROM tiergate.dirty WHERE move_id = %s", (move,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _watch(
    connection: Connection, move: MoveId, tenant: TenantId, schema: str, table: Table, *, always: bool
) -> None:
    function = f"tiergate_moves.{_prefix(move)}{hashlib.sha256(table.name.encode()).hexdigest()[:12]}"
    await connection.execute(_function(function, move, table).encode())
    await connection.execute(
        f"ALTER FUNCTION {function}() OWNER TO tiergate_context;"
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC".encode()
    )
    name = quote_literal(tenant)
    for event, condition in _ROW_EVENTS.items():
        await _trigger(
            connection, move, table.within(schema), event, always=always,
            does=f"FOR EACH ROW WHEN ({condition.format(name)}) EXECUTE FUNCTION {function}()",
        )  # fmt: skip
    # Partitions inherit triggers of rows, but not this one.
    cursor = await connection.execute(
        f"SELECT part::text FROM ({_PARTS.format('%s')}) AS part (part)",  # noqa: S608 - a constant
        (table.within(schema),) * 2,
    )
    for (part,) in await cursor.fetchall():
        does = f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        await _trigger(connection, move, part, "truncate", always=always, does=does)


async def _trigger(
    connection: Connection, move: MoveId, relation: str, event: str, *, always: bool, does: str
) -> None:
    name = f"{_prefix(move)}{event}"
    await connection.execute(
        f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {relation} {does};"
        f"ALTER TABLE {relation} ENABLE {'ALWAYS' if always else ''} TRIGGER {name}".encode()
    )


def _function(function: str, move: MoveId, table: Table) -> str:
    """The statements of each event, with everything in them a constant but the key.

    It runs with the rights of tiergate_context, in the tenant's session.
    """
    old, new = (table.key_of(row) for row in ("OLD", "NEW"))
    of = f"{quote_literal(move)}, {quote_literal(table.name)}"
    log = "INSERT INTO tiergate.dirty (move_id, table_name, key) VALUES"
    body = f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        {log} ({of}, {new});
    ELSIF TG_OP = 'DELETE' THEN
        {log} ({of}, {old});
    ELSIF TG_OP = 'UPDATE' THEN
        {log} ({of}, {new});
        IF {old} <> {new} THEN
            {log} ({of}, {old});
        END IF;
    ELSE
        {log} ({of}, NULL);
    END IF;
    RETURN NULL;
END
"""
    pins = "" if _PLAIN.issuperset(table.types) else _PINS
    return (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        f" SET search_path = pg_catalog, pg_temp{pins} AS {quote_literal(body)}"
    )


def _prefix(move: MoveId) -> str:
    return f"m{move.replace('-', '').lower()}_"


async def _insist(connection: Connection, step: Callable[[], Awaitable[None]]) -> None:
    """Do *step* in a transaction that gives up waiting for a lock soon, as often as it takes."""
    rest_s = _FIRST_REST_S
    while True:
        try:
            async with connection.transaction():
                await connection.execute(
                    "SELECT set_config('lock_timeout', %s, true), set_config('deadlock_timeout', %s, true),"
                    " set_config('idle_in_transaction_session_timeout', %s, true)",
                    (_LOCK_TIMEOUT, _DEADLOCK_TIMEOUT, _STANDS_STILL),
                )
                await step()
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            await asyncio.sleep(rest_s * random.uniform(0.5, 1.0))  # noqa: S311 - chance without secrets
            rest_s = min(2 * rest_s, _LONGEST_REST_S)
        else:
            return
