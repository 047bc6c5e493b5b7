"""A schema for what a tenant makes by itself, where its tier may run all of SQL.

Apart from the application's, which a tenant must not be able to put anything into: its
functions would be found, and run, by whoever changes the application's tables later.
"""

from fleet.access import Connection
from fleet.identifier import quote_identifier
from fleet.roles import OWNER
from registry.placement import Place

_LONGEST = 63


def own_schema(place: Place) -> str:
    """The schema's name."""
    ending = "_own"
    return place.schema[: _LONGEST - len(ending)] + ending


async def open_own_schema(connection: Connection, place: Place) -> None:
    """Let *place*'s login make what it likes in a schema of its own; any number of times."""
    name, login = quote_identifier(own_schema(place)), quote_identifier(place.login)
    await connection.execute(
        f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {OWNER};"
        f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC;"
        f"GRANT USAGE, CREATE ON SCHEMA {name} TO {login};"
        f"GRANT USAGE ON LANGUAGE plpgsql, sql TO {login}".encode()
    )


async def close_own_schema(connection: Connection, place: Place) -> None:
    """Let *place*'s login make nothing more; what it has made stays, and stays its own."""
    cursor = await connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (own_schema(place),))
    if await cursor.fetchone() is None:
        return
    login = quote_identifier(place.login)
    await connection.execute(
        f"REVOKE CREATE ON SCHEMA {quote_identifier(own_schema(place))} FROM {login};"
        f"REVOKE USAGE ON LANGUAGE plpgsql, sql FROM {login}".encode()
    )
