"""What `tiergate check` tries: the configuration, the registry, and each cluster."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from config.document import read_document
from config.errors import SettingsInvalid
from config.load import load
from config.settings import Settings
from registry.errors import RegistryFailed, RegistryUnavailable, SecretUnreadable
from registry.failures import DRIVER_ERRORS
from registry.link import connect
from registry.records import Cluster
from registry.store import open_store
from registry.tables import SCHEMA
from registry.vault import Vault
from tiergate.cli.errors import Unready
from tiergate.guarding import guard_of

Row = dict[str, object]

PATIENCE_S = 5.0
"""For each thing that is tried; clusters are tried at the same time."""

_MOST_AT_ONCE = 16


def find_mistakes(path: Path | None) -> tuple[Settings | None, list[Row]]:
    """The settings, or every mistake in them."""
    lines: Mapping[str, int] = {}
    try:
        settings = load(path)
        lines = read_document(path).lines if path is not None else {}
        guard_of(settings)
    except SettingsInvalid as error:
        return None, [
            {
                "setting": mistake.path,
                "line": mistake.line or lines.get(mistake.path),
                "found": mistake.found,
                "instead": mistake.instead,
            }
            for mistake in error.mistakes
        ]
    return settings, []


def probe(settings: Settings) -> list[Row]:
    """Whether the registry and its clusters answer; one row for each."""
    return asyncio.run(_probe(settings))


def refuse_unready(probes: Sequence[Row]) -> None:
    """Let it pass if everything answered.

    Raises:
        Unready: Something did not.
    """
    silent = [str(row["what"]) for row in probes if row["answers"] is False]
    if silent:
        raise Unready(silent)


async def _probe(settings: Settings) -> list[Row]:
    registry, is_made = await _registry(settings)
    if registry["answers"] is False or not is_made:
        return [registry]
    try:
        async with open_store(settings.registry, Vault(settings.secrets.master_key)) as store:
            clusters = await store.clusters()
    except (RegistryUnavailable, RegistryFailed, SecretUnreadable) as error:
        return [
            registry,
            _row("clusters", "in the registry", answers=False, detail=f"{error}. {error.advice}"),
        ]
    turn = asyncio.Semaphore(_MOST_AT_ONCE)
    return [registry, *await asyncio.gather(*(_cluster(cluster, turn) for cluster in clusters))]


async def _registry(settings: Settings) -> tuple[Row, bool]:
    """The registry's row, and whether its tables are made."""
    address = _address(settings.registry.url)
    try:
        async with asyncio.timeout(PATIENCE_S):
            link = await connect(
                settings.registry.url,
                timeout_s=PATIENCE_S,
                statement_timeout_s=PATIENCE_S,
                name="tiergate-check",
            )
            try:
                found = await link.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.tenant")
                version = link.get_server_version().major
            finally:
                await link.close()
    except TimeoutError:
        return _row("registry", address, answers=False, detail=f"no answer within {PATIENCE_S:g} s"), False
    except (*DRIVER_ERRORS, ValueError) as error:
        return _row("registry", address, answers=False, detail=_first_line(error)), False
    made = "" if found else "; its tables are made at the first start"
    return _row("registry", address, answers=True, detail=f"PostgreSQL {version}{made}"), bool(found)


async def _cluster(cluster: Cluster, turn: asyncio.Semaphore) -> Row:
    what, address = f"cluster {cluster.name}", _address(cluster.conninfo)
    conninfo = make_conninfo(
        cluster.conninfo,
        user=cluster.admin_user,
        password=cluster.admin_password,
        dbname=cluster.database,
        connect_timeout=int(PATIENCE_S),
    )
    try:
        async with (
            turn,
            asyncio.timeout(PATIENCE_S),
            await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection,
        ):
            version = connection.info.server_version // 10_000
    except TimeoutError:
        return _row(what, address, answers=False, detail=f"no answer within {PATIENCE_S:g} s")
    except psycopg.Error as error:
        return _row(what, address, answers=False, detail=_first_line(error))
    return _row(what, address, answers=True, detail=f"PostgreSQL {version}, {cluster.tier}")


def _row(what: str, address: str, *, answers: bool, detail: str) -> Row:
    return {"what": what, "address": address, "answers": answers, "detail": detail}


def _address(conninfo: str) -> str:
    """Host and port of a URL or conninfo, never its password."""
    try:
        found = conninfo_to_dict(conninfo.replace("postgresql+asyncpg://", "postgresql://", 1))
    except psycopg.ProgrammingError:
        return "?"
    return f"{found.get('host') or found.get('hostaddr') or 'local'}:{found.get('port') or 5432}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
