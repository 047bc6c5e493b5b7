"""The roles of a cluster: who owns, who is let in, and with which settings.

Roles belong to the whole server, so everything here runs under a lock of the whole server;
call these inside a transaction that has taken `lock_server`.
"""

from dataclasses import dataclass, field

from fleet.access import Connection
from fleet.errors import ClusterUnfit, PlaceTaken
from fleet.identifier import quote_identifier, quote_literal
from fleet.scram import is_verifier_of, verifier
from tiergate.tenant import Tier

OWNER = "tiergate_owner"
CONTEXT = "tiergate_context"
APP = "tiergate_app"
PREMIUM = "tiergate_premium"

_NO_POWERS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_POWERS = "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"

# What a request's session starts with, on every tier alike: a tier changes where rows live, never
# what they look like. enter() sets statement_timeout anew; here it bounds whatever comes before.
SESSION = {
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "temp_file_limit": "1GB",
    # One request is one process: limits of memory and of temporary files are a process's. And what is
    # being compiled hears no cancel.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    # Whoever does not hear the answer any more, a gateway that died or its whole machine, leaves no work
    # behind: within 2 s where the socket was closed, within 30 s where nothing was said.
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
    # An error may quote a value of 1 GB, and so fill the disk with the server's log. What has failed is
    # the caller's business, who is told all of it; the gateway's log has the SQLSTATE.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "row_security": "on",
    "client_encoding": "UTF8",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class Login:
    """A role that requests connect as.

    Attributes:
        group: The one role it is a member of, or None.
        inherits: Whether it has the group's privileges, or only the right to become it.
    """

    name: str
    password: str = field(repr=False)
    group: str | None
    inherits: bool


async def lock_server(connection: Connection) -> None:
    """Wait until nobody else arranges roles or databases on this server; ends with the transaction.

    Advisory locks are a database's, and several data databases may share a server; so the lock
    is on a shared catalog that nobody reads or writes but COMMENT ON ROLE and DROP.
    """
    await connection.execute("LOCK TABLE pg_catalog.pg_shdescription IN SHARE ROW EXCLUSIVE MODE")


async def prepare_groups(connection: Connection, cluster: str, tier: Tier) -> None:
    """Make the roles that nobody logs in as, or mend their attributes.

    Raises:
        ClusterUnfit: Somebody is a member of the context's owner, and so could read the keys.
    """
    names = [OWNER, CONTEXT]
    match tier:
        case Tier.STANDARD:
            names.append(APP)
        case Tier.PREMIUM:
            names.append(PREMIUM)
        case Tier.GOVERNMENT:
            pass
    cursor = await connection.execute(
        f"SELECT rolname, rolcanlogin OR {_POWERS} FROM pg_roles WHERE rolname = ANY(%s)",  # noqa: S608 - constants
        (names,),
    )
    found: dict[str, bool] = dict(await cursor.fetchall())
    for name in names:
        if found.get(name, True):
            verb = "ALTER" if name in found else "CREATE"
            await connection.execute(f"{verb} ROLE {quote_identifier(name)} NOLOGIN {_NO_POWERS}".encode())
    cursor = await connection.execute(
        "SELECT string_agg(member::regrole::text, ', ') FROM pg_auth_members WHERE roleid = %s::regrole",
        (CONTEXT,),
    )
    members = (await cursor.fetchone() or (None,))[0]
    if members is not None:
        raise ClusterUnfit(cluster, f"{members} may act as {CONTEXT} and so could read the context keys")


async def put_login(connection: Connection, cluster: str, login: Login) -> None:
    """Make a login, or give it the password and attributes that it should have.

    Raises:
        PlaceTaken: A role of that name is a member of others than its group, so it serves something else.
    """
    cursor = await connection.execute(
        "SELECT rolpassword, NOT rolcanlogin OR rolinherit <> %s OR rolvaliduntil < 'infinity'"  # noqa: S608 - constants
        f" OR {_POWERS}, (SELECT string_agg(roleid::regrole::text, ', ') FROM pg_auth_members"
        " WHERE member = pg_authid.oid AND roleid IS DISTINCT FROM to_regrole(%s))"
        " FROM pg_authid WHERE rolname = %s",
        (login.inherits, login.group, login.name),
    )
    found = await cursor.fetchone()
    if found is not None and found[2] is not None:
        raise PlaceTaken(cluster, f"role {login.name!r}", f"it is a member of {found[2]}")
    role = quote_identifier(login.name)
    if found is None or found[1] or not is_verifier_of(found[0], login.password):
        await connection.execute(
            f"{'CREATE' if found is None else 'ALTER'} ROLE {role} LOGIN {_NO_POWERS}"
            f" {'INHERIT' if login.inherits else 'NOINHERIT'} CONNECTION LIMIT -1 VALID UNTIL 'infinity'"
            f" PASSWORD {quote_literal(verifier(login.password))}".encode()
        )
    if login.group is not None:
        # Before 16 the role's own NOINHERIT decides, and SET ROLE to the group cannot be refused.
        how = f" WITH INHERIT {login.inherits}, SET {not login.inherits}"
        how = how if connection.info.server_version >= 160000 else ""  # noqa: PLR2004 - a version
        await connection.execute(f"GRANT {quote_identifier(login.group)} TO {role}{how}".encode())


async def put_session(connection: Connection, login: str, database: str, *schemas: str) -> None:
    """Set what *login*'s sessions in *database* start with; *schemas* alone are searched."""
    begin = f"ALTER ROLE {quote_identifier(login)} IN DATABASE {quote_identifier(database)} SET "
    lines = [f"{begin}{name} = {quote_literal(value)};" for name, value in SESSION.items()]
    searched = ", ".join(map(quote_identifier, schemas))
    lines.append(f"{begin}search_path = {searched}, pg_temp;")
    await connection.execute("\n".join(lines).encode())


async def close_databases(connection: Connection, *databases: str) -> tuple[str, ...]:
    """Take from PUBLIC every right to these databases, where they exist.

    Returns:
        The other databases that PUBLIC may still connect to.
    """
    cursor = await connection.execute(
        "SELECT datname, bool_or(privilege_type = 'CONNECT') FROM pg_database,"
        " aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        " WHERE datallowconn AND grantee = 0 GROUP BY datname ORDER BY datname"
    )
    found = await cursor.fetchall()
    for name, _is_open in found:
        if name in databases:
            await connection.execute(f"REVOKE ALL ON DATABASE {quote_identifier(name)} FROM PUBLIC".encode())
    return tuple(name for name, is_open in found if is_open and name not in databases)


async def admit(connection: Connection, database: str, role: str) -> None:
    """Let *role* connect to *database*, the one connected to, and enter there for a tenant."""
    who = quote_identifier(role)
    await connection.execute(
        f"GRANT CONNECT ON DATABASE {quote_identifier(database)} TO {who};"
        "GRANT EXECUTE ON FUNCTION tiergate.enter(text, text, bigint, integer, bigint, text, integer)"
        f" TO {who}".encode()
    )
    await let_ask(connection, role)


async def let_ask(connection: Connection, role: str) -> None:
    """Let *role* ask whose transaction it is in; every policy asks that in its name."""
    who = quote_identifier(role)
    await connection.execute(
        f"GRANT USAGE ON SCHEMA tiergate TO {who};"
        f"GRANT EXECUTE ON FUNCTION tiergate.tenant() TO {who}".encode()
    )
