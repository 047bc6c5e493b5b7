"""How a connection to the registry's Postgres is made; the only reader of its URL.

The URL is libpq's (`postgresql://user:password@host/database?sslmode=…`).
asyncpg reads hosts, TLS and credentials from it the way libpq does, so
SQLAlchemy is handed a connection, not a URL of another dialect.
"""

import math
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_CLOSE_S = 0.25
"""A polite goodbye takes one round trip; a dead peer must not hold a caller for longer than this."""

_IDLE_MS = "30000"
"""No transaction of ours ever waits for anything else; one that idles was left by a gateway that stalled."""

_LIBPQ_ONLY = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "require_auth",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
"""Keywords that libpq acts on in the client; asyncpg would send them to the server, which refuses them."""


class Link(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection whose closing never takes long.

    SQLAlchemy closes a cancelled connection politely, and waits two seconds for
    a server that does not answer; a deadline would be late by as much.
    """

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Say goodbye, or hang up when the goodbye is not heard."""
        await super().close(timeout=_CLOSE_S if timeout is None else min(timeout, _CLOSE_S))


def dsn(url: str) -> str:
    """*url* as asyncpg reads it: SQLAlchemy's and libpq's own spellings are understood too."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _LIBPQ_ONLY]
    return urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))


async def connect(url: str, *, timeout_s: float, statement_timeout_s: float | None, name: str) -> Link:
    """A new connection to the registry.

    Args:
        timeout_s: For dialling and logging in.
        statement_timeout_s: After that long the *server* gives a statement up; None is never.
        name: What `pg_stat_activity` shows as application_name.
    """
    statement_ms = 0 if statement_timeout_s is None else max(1, math.ceil(statement_timeout_s * 1000))
    link: Link = await asyncpg.connect(
        dsn(url),
        timeout=timeout_s,
        connection_class=Link,
        server_settings={
            "application_name": name,
            "statement_timeout": str(statement_ms),
            "idle_in_transaction_session_timeout": _IDLE_MS,
            "search_path": "",
            "jit": "off",  # asyncpg's look at types is a long query that JIT makes slower
        },
    )
    return link


def new_engine(url: str, *, pool_size: int, timeout_s: float) -> AsyncEngine:
    """An engine with at most *pool_size* connections; getting one waits *timeout_s* at most.

    The server gives a statement up a little before we do, so that a slow query
    costs no connection, and silence means that the network is broken.
    """

    async def dial() -> Link:
        return await connect(
            url, timeout_s=timeout_s, statement_timeout_s=0.75 * timeout_s, name="tiergate-registry"
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=dial,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_recycle=1800,
        pool_use_lifo=True,
        hide_parameters=True,  # they hold sealed secrets and digests; errors are logged
    )
