"""Opening a libpq connection, or asking it to cancel, without blocking the event loop."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn

# Found out within 30 s that the other end is gone, also while nothing is sent.
_KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30000}


async def dial(conninfo: str) -> PGconn:
    """A connected libpq connection.

    Args:
        conninfo: Complete libpq keyword/value string, with user, password and dbname.

    Raises:
        psycopg.OperationalError: The server cannot be reached or refuses us.
        CancelledError: The half-open connection is closed.
    """
    conn = pq.PGconn.connect_start(make_conninfo(await _resolved(conninfo), client_encoding="utf8").encode())
    try:
        await _poll(conn.connect_poll, lambda: conn.socket)
        if conn.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(conn.get_error_message().strip())
    except BaseException:
        conn.finish()
        raise
    return conn


async def cancel(conn: PGconn) -> None:
    """Ask the server to end what runs on *conn*; returns once the server has taken note.

    Raises:
        psycopg.OperationalError: The server cannot be asked.
    """
    request = conn.cancel_conn()
    try:
        request.start()
        await _poll(request.poll, lambda: request.socket)
    finally:
        request.finish()


async def _poll(step: Callable[[], int], descriptor: Callable[[], int]) -> None:
    """Drive libpq's polling to its end; each step may be about another socket (several hosts)."""
    loop = asyncio.get_running_loop()
    while (status := step()) in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
        ready = loop.create_future()
        fd = descriptor()
        if status == pq.PollingStatus.READING:
            loop.add_reader(fd, _settle, ready)
        else:
            loop.add_writer(fd, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
            loop.remove_writer(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _resolved(conninfo: str) -> str:
    """*conninfo* with the addresses of its hosts looked up, since libpq would block on that."""
    known = conninfo_to_dict(conninfo)
    hosts = str(known.get("host") or "")
    extra: dict[str, str | int] = {key: value for key, value in _KEEPALIVE.items() if key not in known}
    if hosts and not known.get("hostaddr") and not all(map(_needs_no_lookup, hosts.split(","))):
        extra["hostaddr"] = ",".join([await _address(host) for host in hosts.split(",")])
    return make_conninfo(conninfo, **extra)


def _needs_no_lookup(host: str) -> bool:
    if not host or host.startswith(("/", "@")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _address(host: str) -> str:
    if _needs_no_lookup(host):
        return host if not host.startswith(("/", "@")) else ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise psycopg.OperationalError(f"cannot resolve host {host!r}: {exc}") from exc
    return str(found[0][4][0])
