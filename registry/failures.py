"""The one table from what the drivers raise to what the registry raises."""

import asyncpg
from sqlalchemy import exc

from registry.errors import RegistryFailed, RegistryUnavailable

DRIVER_ERRORS = (exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_PASSING = ("08", "28", "3D", "40", "53", "55", "57", "58", "XX", "25006")
"""SQLSTATEs, or their beginnings, that another try may cure: no connection, no login (a password is
being rotated), no database yet, deadlock, no resources, locked, shut down, I/O, and a standby that
refuses writes until it is promoted.

Source: PostgreSQL 18, appendix A "PostgreSQL Error Codes".
"""


def translated(error: Exception) -> RegistryUnavailable | RegistryFailed:
    """What *error*, one of `DRIVER_ERRORS`, means to a caller; to be raised from it."""
    driver = error.driver_exception if isinstance(error, exc.DBAPIError) else error
    sqlstate = getattr(driver, "sqlstate", None)
    if sqlstate is None or sqlstate.startswith(_PASSING):
        return RegistryUnavailable(_sentence(driver))
    return RegistryFailed(sqlstate, _sentence(driver))


def _sentence(error: BaseException | None) -> str:
    # The first line only: what follows may quote the statement and its parameters.
    return next(iter(str(error).splitlines()), "") or type(error).__name__
