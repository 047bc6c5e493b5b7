"""The application's tables: read from a folder of plain SQL files, made in a schema, put under the rule.

The files say what every tenant has, and name no schema; so the same files serve every tier.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from psycopg import errors as pg

from fleet.access import ClusterAccess, Connection, is_outage
from fleet.cluster import lock
from fleet.errors import ApplicationChanged, ApplicationInvalid, PlaceTaken
from fleet.identifier import quote_identifier
from fleet.roles import OWNER


class Applied(StrEnum):
    """What became of a schema."""

    MADE = "made"
    MADE_ANEW = "made anew"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class ApplicationSql:
    """What the files hold, in the order in which they are run.

    Attributes:
        files: Name and text of each, at least one, sorted by name.
    """

    files: tuple[tuple[str, str], ...]

    @property
    def checksum(self) -> str:
        """Changes when a text or the order does; a new name alone changes nothing."""
        whole = hashlib.sha256()
        for _name, text in self.files:
            whole.update(hashlib.sha256(text.encode()).digest())
        return whole.hexdigest()


def read_application(folder: Path) -> ApplicationSql:
    """Read the `*.sql` files of *folder*; folders inside it are not entered.

    Raises:
        ApplicationInvalid: No such folder, no such file in it, one unreadable or not in UTF-8.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".sql")
    except OSError as exc:
        raise ApplicationInvalid(str(folder), exc.strerror or "it cannot be read") from exc
    if not paths:
        raise ApplicationInvalid(str(folder), "it holds no file that ends in .sql")
    return ApplicationSql(tuple((path.name, _read(path)) for path in paths))


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as exc:
        raise ApplicationInvalid(str(path), exc.strerror or "it cannot be read") from exc
    except UnicodeDecodeError as exc:
        raise ApplicationInvalid(str(path), f"byte {exc.start} is not UTF-8; save the file as UTF-8") from exc
    if "\0" in text:
        raise ApplicationInvalid(str(path), "it has a NUL character, which SQL text cannot have")
    return text


async def apply(
    connection: Connection, cluster: ClusterAccess, schema: str, application: ApplicationSql, serves: str
) -> Applied:
    """Make *schema* with the application's tables, and let role *serves* use them; inside a transaction.

    All or nothing, as the caller's transaction goes. Files run as tiergate_owner inside a function that
    is bound to it: there the server refuses COMMIT, RESET ROLE and a search_path that outlives the file.

    Returns:
        Whether it was kept, since it was made from the same files: then only rules and grants that went
        missing are put back. Made anew, without rows, is what somebody dropped.

    Raises:
        ApplicationInvalid: A file does not run, or makes what breaks the rule.
        ApplicationChanged: The schema was made from other files.
        PlaceTaken: Another role owns a schema of that name, or it holds tables that are not recorded.
    """
    await lock(connection, f"application {schema}")
    database = connection.info.dbname
    cursor = await connection.execute(
        "SELECT checksum FROM tiergate.application WHERE schema_name = %s", (schema,)
    )
    row = await cursor.fetchone()
    is_there = await _open_schema(connection, cluster, schema, serves)
    if row is not None and is_there:
        if row[0] != application.checksum:
            raise ApplicationChanged(cluster.name, database, schema)
        await _protect_tables(connection, schema, serves)
        return Applied.KEPT
    if is_there:
        await _refuse_strange(connection, cluster, schema)
    await _run_files(connection, schema, application)
    await _refuse_unsafe(connection, schema)
    await _protect_tables(connection, schema, serves)
    await connection.execute(
        "INSERT INTO tiergate.application (schema_name, checksum) VALUES (%s, %s) ON CONFLICT (schema_name)"
        " DO UPDATE SET checksum = excluded.checksum, applied_at = excluded.applied_at",
        (schema, application.checksum),
    )
    return Applied.MADE if row is None else Applied.MADE_ANEW


async def _open_schema(connection: Connection, cluster: ClusterAccess, schema: str, serves: str) -> bool:
    """Make the schema and open it; whether it was there."""
    cursor = await connection.execute(
        "SELECT nspowner::regrole::text, nspowner = %s::regrole FROM pg_namespace WHERE nspname = %s",
        (OWNER, schema),
    )
    if (row := await cursor.fetchone()) is not None and not row[1]:
        raise PlaceTaken(cluster.name, f"schema {schema!r}", f"it belongs to {row[0]}")
    name = quote_identifier(schema)
    await connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {OWNER};"
        f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC;"
        f"GRANT USAGE ON SCHEMA {name} TO {quote_identifier(serves)}".encode()
    )
    return row is not None


async def _refuse_strange(connection: Connection, cluster: ClusterAccess, schema: str) -> None:
    cursor = await connection.execute(
        "SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p') LIMIT 1",
        (quote_identifier(schema),),
    )
    if await cursor.fetchone() is not None:
        raise PlaceTaken(
            cluster.name,
            f"schema {schema!r}",
            "it holds tables that are not recorded in tiergate.application",
        )


async def _run_files(connection: Connection, schema: str, application: ApplicationSql) -> None:
    await connection.execute(
        "CREATE OR REPLACE FUNCTION pg_temp.tiergate_apply(file text) RETURNS void"
        " LANGUAGE plpgsql SECURITY DEFINER"
        f" SET search_path = {quote_identifier(schema)}, pg_temp AS 'BEGIN EXECUTE file; END';"
        f"ALTER FUNCTION pg_temp.tiergate_apply(text) OWNER TO {OWNER}".encode()
    )
    for name, text in application.files:
        try:
            await connection.execute("SELECT pg_temp.tiergate_apply(%s)", (text,))
        except psycopg.Error as exc:
            if is_outage(exc) or isinstance(exc, pg.LockNotAvailable):
                raise
            raise ApplicationInvalid(_where(name, text, exc), _why(exc)) from exc
    await connection.execute("DROP FUNCTION pg_temp.tiergate_apply(text)")


_UNSAFE = """
SELECT format('materialized view %%I', relname),
    'row-level security does not reach into it; make it a view'
FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'm'
UNION ALL
SELECT format('foreign table %%I', relname),
    'row-level security does not reach into it; copy its rows into a table'
FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'f'
UNION ALL
SELECT format('view %%I', relname),
    'it reads as its owner; write CREATE VIEW … WITH (security_invoker = true) AS …'
FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'v'
    AND NOT coalesce(reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
UNION ALL
SELECT format('sequence %%I', relname),
    'no request may use a sequence; write GENERATED ALWAYS AS IDENTITY, or id uuid DEFAULT gen_random_uuid()'
FROM pg_class AS c WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'S'
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'i')
UNION ALL
SELECT format('function %%s', oid::regprocedure), 'it runs as its owner; leave SECURITY DEFINER out'
FROM pg_proc WHERE pronamespace = to_regnamespace(%(schema)s) AND prosecdef
UNION ALL
SELECT 'the SQL files', 'they make no table'
WHERE NOT EXISTS (
    SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p'))
"""


async def _refuse_unsafe(connection: Connection, schema: str) -> None:
    cursor = await connection.execute(_UNSAFE, {"schema": quote_identifier(schema)})
    if (row := await cursor.fetchone()) is not None:
        raise ApplicationInvalid(*row)


_TABLES = """
SELECT c.oid::regclass::text, c.relname,
    c.relkind = 'v' OR c.relrowsecurity AND c.relforcerowsecurity AND 2 = (
        SELECT count(*) FROM pg_policy
        WHERE polrelid = c.oid
            AND polname = CASE WHEN polpermissive THEN 'tiergate_access' ELSE 'tiergate_tenant' END),
    has_table_privilege(%(serves)s, c.oid, 'DELETE') AND NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND NOT (
            has_column_privilege(%(serves)s, c.oid, attnum, 'SELECT')
            AND has_column_privilege(%(serves)s, c.oid, attnum, 'INSERT')
            AND (attname = 'tenant_id' OR has_column_privilege(%(serves)s, c.oid, attnum, 'UPDATE')))),
    (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attname <> 'tenant_id')
FROM pg_class AS c
WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p', 'v') ORDER BY c.oid
"""


async def _protect_tables(connection: Connection, schema: str, serves: str) -> None:
    """Force the rule on every table, then grant by column; what is so already is left alone, unlocked.

    By column, since that keeps system columns (others' transaction ids, row addresses) out of reach and a
    row with its tenant. Never TRUNCATE, REFERENCES or TRIGGER: the first ignores policies, the others plant.
    """
    cursor = await connection.execute(_TABLES, {"schema": quote_identifier(schema), "serves": serves})
    for table, name, is_ruled, is_granted, columns, without_tenant in await cursor.fetchall():
        if not is_ruled:
            await _protect(connection, table, name)
        if is_granted:
            continue
        update = f", UPDATE ({without_tenant})" if without_tenant else ""
        await connection.execute(
            f"GRANT SELECT ({columns}), INSERT ({columns}){update}, DELETE ON TABLE {table}"
            f" TO {quote_identifier(serves)}".encode()
        )


async def _protect(connection: Connection, table: str, name: str) -> None:
    try:
        await connection.execute("SELECT tiergate.protect(%s::regclass)", (table,))
    except psycopg.Error as exc:
        if is_outage(exc) or isinstance(exc, pg.LockNotAvailable):
            raise
        raise ApplicationInvalid(f"table {name!r}", _why(exc)) from exc


def _where(name: str, text: str, exc: psycopg.Error) -> str:
    """The file, and the line in it where the server says it."""
    position = exc.diag.internal_position or ""
    if exc.diag.internal_query != text or not position.isdigit():
        return name
    return f"{name}, line {text.count(chr(10), 0, int(position) - 1) + 1}"


def _why(exc: psycopg.Error) -> str:
    said = (exc.diag.message_primary, exc.diag.message_detail, exc.diag.message_hint)
    return " ".join(part if part.endswith(".") else f"{part}." for part in said if part)
