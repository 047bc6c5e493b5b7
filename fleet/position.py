"""How far a server has come in its write-ahead log; only an administrator may ask."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from fleet.access import ClusterAccess
from fleet.errors import ClusterUnreachable
from pools.dial import dial, hang_up
from pools.errors import ConnectionLost
from pools.wire import Wire

_DIAL_S = 2.0
_CLOSE_S = 1.0
_SMALL_BYTES = 65536

QUESTION = b"""
SELECT (SELECT system_identifier FROM pg_control_system()), r.is_standby::integer,
    CASE WHEN r.is_standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0',
    CASE WHEN r.is_standby
        THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()))
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer END
FROM (SELECT pg_is_in_recovery() AS is_standby) AS r
"""
"""To be asked with nothing but pg_catalog in the search path.

A standby that hears of nobody tells its timeline by the control file, which may be behind: then it
counts as older than it is.
"""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a server stands.

    Attributes:
        system: The number that a primary and its standbys have in common, and no other server.
        lsn: Bytes of log: on a primary what is durable, on a standby what is visible.
        timeline: Whose history that is. A promotion begins another one, in which other things stand
            at the same place of the log.
    """

    system: int
    is_standby: bool
    lsn: int
    timeline: int

    @classmethod
    def read(cls, answer: Sequence[str | int | None]) -> Self:
        """The answer's one row; the rest is null where a standby has replayed nothing yet."""
        system, is_standby, lsn, timeline = (int(value or 0) for value in answer)
        return cls(system, bool(is_standby), lsn, timeline)


@asynccontextmanager
async def open_wire(server: ClusterAccess) -> AsyncIterator[Wire]:
    """The administrator's connection; nobody waits for long when it ends.

    Raises:
        ClusterUnreachable: There is none to be had.
    """
    begun: list[PGconn] = []
    wire: Wire | None = None
    try:
        try:
            async with asyncio.timeout(_DIAL_S):
                # A superuser with "public" in the search path runs whatever somebody planted there.
                where = make_conninfo(server.conninfo, options="-c search_path=pg_catalog,pg_temp")
                conn = await dial(
                    where, server.user, server.password, server.database,
                    within_s=_DIAL_S, begun=begun.append,
                )  # fmt: skip
        except (psycopg.Error, OSError, TimeoutError) as exc:
            raise ClusterUnreachable(server.name, str(exc).strip() or "no answer in time") from exc
        wire = Wire(conn, max_prepared=1)
        yield wire
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await (hang_up(*begun) if wire is None else wire.close())


async def position(wire: Wire, *, until: float) -> Position:
    """Ask a server where it stands; one round trip.

    Raises:
        ConnectionLost, DeadlineExceeded: As `Wire.fly`.
    """
    wire.ask(QUESTION)
    [[answer]] = await wire.fly(max_bytes=_SMALL_BYTES, until=until)
    if answer.status != pq.ExecStatus.TUPLES_OK:
        raise ConnectionLost(answer.get_error_message().strip())
    values = [answer.get_value(0, column) for column in range(answer.nfields)]
    return Position.read([None if value is None else value.decode() for value in values])
