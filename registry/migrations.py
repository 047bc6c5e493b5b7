"""Brings the registry's tables to the form that this code expects.

Every gateway does this when it starts, several at once: the first one takes
an advisory lock and migrates, in one transaction; the others wait, and find
nothing left to do. Never goes backwards, never touches a later tiergate's tables.
"""

import asyncio
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from registry.errors import RegistryTooNew, RegistryUnavailable
from registry.failures import DRIVER_ERRORS, translated
from registry.link import Link, connect
from registry.tables import SCHEMA
from registry.vault import Vault

_HERE = Path(__file__).parent
_LOCK = 0x7469_6572_6761_7465
"""The advisory lock's number: "tiergate" in ASCII."""


async def migrate(url: str, vault: Vault, *, timeout_s: float = 60.0) -> list[str]:
    """Apply what is missing, all of it or nothing.

    Args:
        vault: Of the master key that the registry was made with; entries of the audit are chained with it.
        timeout_s: For everything, waiting for another gateway's migration included.

    Returns:
        The ids of the revisions that were applied, oldest first; empty when nothing was missing.

    Raises:
        RegistryTooNew: A later tiergate has migrated this registry.
        RegistryUnavailable: It cannot be reached, or did not finish in time; nothing has changed.
        RegistryFailed: The server refused, for want of a grant for instance.
        SecretUnreadable: The master key is another one, and was needed.
    """

    async def dial() -> Link:
        return await connect(
            url, timeout_s=timeout_s, statement_timeout_s=timeout_s, name="tiergate-migrations"
        )

    engine = create_async_engine("postgresql+asyncpg://", async_creator=dial, poolclass=NullPool)
    try:
        async with asyncio.timeout(timeout_s), engine.begin() as connection:
            return await connection.run_sync(_upgrade, vault)
    except TimeoutError as error:
        raise RegistryUnavailable(f"its migration did not end within {timeout_s:g} s") from error
    except DRIVER_ERRORS as error:
        raise translated(error) from error


def scripts() -> ScriptDirectory:
    """The revisions that this code knows, read from `versions/` beside this module."""
    return ScriptDirectory(str(_HERE), version_locations=[str(_HERE / "versions")])


def _upgrade(connection: Connection, vault: Vault) -> list[str]:
    # The lock belongs to the transaction: a gateway that dies lets go of it. Everything after
    # it sees what the holder before us has committed, since each statement takes a new snapshot.
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    known = scripts()
    applied: list[str] = []

    def steps(found: tuple[str, ...], _context: MigrationContext) -> list[MigrationStep]:
        # Alembic's documentation names this method, underscore and all, for use without an env.py.
        missing = known._upgrade_revs("head", found)  # type: ignore[arg-type]  # noqa: SLF001
        applied.extend(step.info.up_revision_id or "" for step in missing)
        return list(missing)

    context = MigrationContext.configure(
        connection,
        opts={"fn": steps, "version_table": "revision", "version_table_schema": SCHEMA, "vault": vault},
    )
    _refuse_later(context.get_current_heads(), known)
    with Operations.context(context):
        context.run_migrations()
    return applied


def _refuse_later(found: tuple[str, ...], known: ScriptDirectory) -> None:
    revisions: dict[str, Script] = {script.revision: script for script in known.walk_revisions()}
    if not set(found) <= revisions.keys():
        raise RegistryTooNew(found, known.get_current_head() or "nothing")
