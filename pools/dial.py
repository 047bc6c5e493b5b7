"""Opening a libpq connection, or asking it to cancel, without blocking the event loop."""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn

from pools.line import Line
from pools.refusal import tell_codes

# Found out within 30 s that the other end is gone, also while nothing is sent.
_KEEPALIVE = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

_answered: dict[str, dict[str, str]] = {}
"""By conninfo of several hosts, the one that answered last: after a failover the dead one is not waited for
at each dial. As many as there are clusters."""


async def dial(
    conninfo: str,
    user: str,
    password: str,
    database: str,
    *,
    within_s: float,
    begun: Callable[[PGconn], None],
) -> PGconn:
    """A connection to the first of *conninfo*'s hosts that will do.

    Each has an equal share of the time that is left: libpq itself would wait for a silent one until all
    of it is over. The one that answered last is asked first.

    Args:
        begun: Is told of each connection that has begun to open; whoever listens ends each of them where
            none will do, and the last where that one will.

    Raises:
        psycopg.OperationalError: None will do; tells what each has said.
        TimeoutError: The last one did not answer.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    ways = sorted(await _ways(conninfo), key=lambda way: way != _answered.get(conninfo))
    told: list[str] = []
    passed: list[PGconn] = []
    for left in range(len(ways), 0, -1):
        way = ways[-left]
        known = {
            **_KEEPALIVE, **_known(conninfo), **way, "user": user, "password": password, "dbname": database,
            "client_encoding": "utf8", "application_name": "tiergate",
        }  # fmt: skip
        conn = pq.PGconn.connect_start(make_conninfo("", **known).encode())
        begun(conn)
        try:
            async with asyncio.timeout((until - loop.time()) / left):
                await connected(conn)
        except (psycopg.OperationalError, TimeoutError) as exc:
            told.append(str(exc).strip() or f"{way.get('host')}: no answer in time")
            if left == 1 and isinstance(exc, TimeoutError):
                raise
            passed.append(conn)  # its server may still come to it
        else:
            if len(ways) > 1:
                _answered[conninfo] = way
            for each in passed:  # other servers, which have no part in what this one may have of us
                each.finish()
            return conn
    raise psycopg.OperationalError("\n".join(told))


async def connected(conn: PGconn) -> None:
    """Wait until *conn* is open.

    Raises:
        psycopg.OperationalError: The server cannot be reached or refuses us; see `pools.refusal`.
    """
    tell_codes(conn, wanted=True)
    await _poll(conn.connect_poll, lambda: conn.socket)
    tell_codes(conn, wanted=False)
    if conn.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(conn.get_error_message().strip())


async def hang_up(*conns: PGconn) -> None:
    """Close *conns*, open or not, and return when their servers have closed them as well."""
    lines = [line for conn in conns if (line := _let_go(conn)) is not None]
    try:
        async with asyncio.TaskGroup() as tasks:
            for line in lines:
                tasks.create_task(line.end(), name="hang up")
    finally:
        for line in lines:
            line.close()


def _let_go(conn: PGconn) -> Line | None:
    """End *conn* for libpq; what is left of it, unless there is nobody at the other end."""
    try:
        return Line(conn)
    except (psycopg.OperationalError, OSError):  # there is no socket
        return None
    finally:
        conn.finish()


async def cancel(conn: PGconn) -> None:
    """Ask the server to end what runs on *conn*; returns once the server has taken note.

    Raises:
        psycopg.OperationalError: The server cannot be asked.
    """
    request = conn.cancel_conn()
    try:
        request.start()
        await _poll(request.poll, lambda: request.socket)
        if request.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(request.get_error_message())
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


@lru_cache(maxsize=1024)
def _known(conninfo: str) -> Mapping[str, str]:
    """What *conninfo* says; asking libpq takes 0.05 ms, and every dial wants to know."""
    return MappingProxyType({key: str(value) for key, value in conninfo_to_dict(conninfo).items()})


async def _ways(conninfo: str) -> list[dict[str, str]]:
    """Host, address and port of each way that *conninfo* names, as far as it does."""
    known = await _resolved(_known(conninfo))
    lists: dict[str, list[str]] = {
        key: known[key].split(",") for key in ("host", "hostaddr", "port") if key in known
    }
    count = max(map(len, lists.values()), default=1)
    whole = {key: values * (count if len(values) == 1 else 1) for key, values in lists.items()}
    ways = [{key: values[at] for key, values in whole.items()} for at in range(count)]
    if known.get("load_balance_hosts") == "random":
        random.shuffle(ways)
    return ways


async def _resolved(known: Mapping[str, str]) -> Mapping[str, str]:
    """*known* with every address of its hosts looked up, since libpq would block on that.

    As libpq itself does, a host of several addresses is tried at each in turn.

    Raises:
        psycopg.OperationalError: No host's name has an address.
    """
    hosts = known.get("host", "").split(",")
    if "hostaddr" in known or all(map(_needs_no_lookup, hosts)):
        return known
    ports = known.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    ways = [
        (host, address, port)
        for host, port in zip(hosts, ports, strict=True)
        for address in await _addresses(host)
    ]
    if not ways:
        raise psycopg.OperationalError(f"no address is known for {known['host']}")
    found = zip(("host", "hostaddr", "port"), zip(*ways, strict=True), strict=True)
    return {**known, **{key: ",".join(values) for key, values in found}}


def _needs_no_lookup(host: str) -> bool:
    if not host or host.startswith(("/", "@")):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _addresses(host: str) -> list[str]:
    if _needs_no_lookup(host):
        return [host if not host.startswith(("/", "@")) else ""]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
