"""What the two ends of a move differ in, as far as that matters."""

import secrets

from fleet.access import ClusterAccess, Connection
from fleet.application import ApplicationSql, apply
from fleet.errors import ApplicationInvalid
from fleet.identifier import quote_identifier
from fleet.roles import OWNER
from moves.ends import End
from moves.finding import Finding
from moves.looks import EXTENSIONS
from moves.sight import Goal, Seen
from moves.tables import read_structure
from tiergate.tenant import Tier

_SPARE_CONNECTIONS = 20
_SHOWN = 3
_MAJOR = 10_000


def compare_servers(near: Seen, far: Seen, goal: Goal) -> list[Finding]:
    """What the two servers say of themselves."""
    found = []
    here, there = near.server, far.server
    if goal.tier is not Tier.GOVERNMENT and (here.system, here.database) == (there.system, there.database):
        found.append(Finding("same-database", "both ends are in one database", far.where))
    old, new = (seen.connection.info.server_version // _MAJOR for seen in (near, far))
    if old != new:
        code = "server-older" if new < old else "server-newer"
        found.append(Finding(code, f"PostgreSQL {new}, and the source has {old}", far.where))
    differs = [
        f"{name} is {getattr(there, name)}, not {getattr(here, name)}"
        for name in ("provider", "collate", "ctype", "collversion")
        if getattr(here, name) != getattr(there, name)
    ]
    if differs:
        found.append(Finding("locale", "; ".join(differs), far.where))
    for seen in (near, far):
        if 2 * here.relations > seen.server.locks:
            what = (
                f"{here.relations} tables, indexes and sequences; room for {seen.server.locks} locks in all"
            )
            found.append(Finding("locks", what, seen.where))
    if there.connections < _SPARE_CONNECTIONS:
        what = f"{max(0, there.connections)} connections are left of max_connections"
        found.append(Finding("connections", what, far.where))
    if goal.tier is not Tier.STANDARD and goal.budget is not None and goal.tenants >= goal.budget:
        what = f"{goal.tenants + 1} places, and a process may have {goal.budget} connections"
        found.append(Finding("budget", what, far.where))
    return found


async def compare_extensions(near: Seen, far: Seen, goal: Goal, schema: str) -> list[Finding]:
    """What the tables need, and the target has not, or has otherwise."""
    cursor = await near.connection.execute(EXTENSIONS.encode(), {"schema": quote_identifier(schema)})
    needed: dict[str, str] = dict(await cursor.fetchall())
    is_bare = goal.tier is Tier.GOVERNMENT and goal.place is None
    cursor = await far.connection.execute("SELECT extname, extversion FROM pg_extension")
    # template0 has that one, everywhere.
    present: dict[str, str] = {
        name: version for name, version in await cursor.fetchall() if not is_bare or name == "plpgsql"
    }
    found = []
    for name, version in sorted(needed.items()):
        if name not in present:
            found.append(Finding("extensions", f"extension {name!r} is missing", far.where))
        elif present[name] != version:
            what = f"extension {name!r} is {present[name]}, not {version}"
            found.append(Finding("extension-version", what, far.where))
    return found


async def compare_applications(
    near: Seen, far: Seen, schema: str, goal: Goal, application: ApplicationSql
) -> list[Finding]:
    """Whether each end was made from the SQL files that the gateway has."""
    found = []
    made = [(near, schema)]
    if goal.place is not None:
        made.append((far, goal.place.schema))
    for seen, name in made:
        cursor = await seen.connection.execute(
            "SELECT checksum FROM tiergate.application WHERE schema_name = %s", (name,)
        )
        row = await cursor.fetchone()
        if row is None:
            found.append(Finding("application", f"schema {name!r} was not made by tiergate", seen.where))
        elif row[0] != application.checksum:
            what = f"schema {name!r} was made from other SQL files than this gateway's"
            found.append(Finding("application", what, seen.where))
    return found


async def compare_structures(
    near: Seen, far: Seen, source: End, goal: Goal, application: ApplicationSql
) -> list[Finding]:
    """Whether the tables are built as the target's are, or as they will be."""
    found = await read_structure(near.connection, source.placement.place.schema)
    try:
        if goal.place is not None:
            meant, where = await read_structure(far.connection, goal.place.schema), far.where
        else:
            meant, where = (
                await _made_for_a_look(near.connection, source.access, application),
                "the SQL files",
            )
    except ApplicationInvalid as error:
        return [Finding("application", str(error), near.where)]
    differs = [f"not in {where}: {line}" for line in sorted(set(found) - set(meant))]
    differs += [f"only in {where}: {line}" for line in sorted(set(meant) - set(found))]
    more = [f"and {len(differs) - _SHOWN} more"] if len(differs) > _SHOWN else []
    return [Finding("structure", "; ".join(differs[:_SHOWN] + more), near.where)] if differs else []


async def _made_for_a_look(
    connection: Connection, access: ClusterAccess, application: ApplicationSql
) -> list[str]:
    """How the SQL files build the tables on that server; nobody else ever sees those that it makes."""
    schema = f"tiergate_look_{secrets.token_hex(8)}"
    made: list[str] = []
    async with connection.transaction(force_rollback=True):
        await apply(connection, access, schema, application, OWNER)
        made += await read_structure(connection, schema)
    return made
