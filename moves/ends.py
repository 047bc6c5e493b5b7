"""The two ends of a move, and the way into each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fleet.access import ClusterAccess, Connection, open_admin
from registry.moves import MoveId
from registry.placement import Placement
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

# Values pass from one server to the other as text, and digests are taken of text: pinned, whatever the
# servers' own settings are. The limit of idleness ends what a worker that stands still holds on to; the
# cut-over has a shorter one. It is far above what one end waits for the other in a transaction.
_SESSION = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    # A worker that is cut off in a COPY is not idle: no limit ends what it holds, but the network does.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
_SINCE_17 = {"transaction_timeout": "0"}
_17 = 170000


@dataclass(frozen=True, slots=True)
class End:
    """Where a tenant lives, or is to live, and the administrator's way there."""

    access: ClusterAccess
    placement: Placement


@dataclass(frozen=True, slots=True)
class Way:
    """From where to where, for whom: the way back is the same with the ends swapped.

    Attributes:
        attempt: UUID of the worker's turn; see `registry.moves.Move`.
    """

    move: MoveId
    tenant: TenantId
    attempt: str
    source: End
    target: End

    @property
    def session(self) -> str:
        """What the attempt's sessions are called at both ends: all of them, and no others."""
        return f"{_sessions_of(self.move)}{self.attempt[:8]}"

    @property
    def back(self) -> "Way":
        """The other way round."""
        return Way(self.move, self.tenant, self.attempt, self.target, self.source)


@asynccontextmanager
async def open_end(end: End, deadline: Deadline, session: str = "tiergate move") -> AsyncIterator[Connection]:
    """A superuser's connection to the place's database, in autocommit; use inside `fleet.access.bounded`.

    Args:
        session: Its name, as `Way.session` gives it.

    Raises:
        ClusterUnreachable, ClusterUnfit, NotSuperuser: See fleet/errors.py.
    """
    async with open_admin(end.access, end.placement.place.database, deadline) as connection:
        names = _SESSION | {"application_name": session}
        names |= _SINCE_17 if connection.info.server_version >= _17 else {}
        calls = ", ".join("set_config(%s, %s, false)" for _ in names)
        values = [part for pair in names.items() for part in pair]
        await connection.execute(f"SELECT {calls}".encode(), values)
        # What one end has said is done must outlive its crash, before the other end forgets it.
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
        yield connection


async def end_others(connection: Connection, way: Way) -> None:
    """End the sessions of the move's other attempts in the database connected to, with what they hold.

    For who has found another attempt's mark there: its worker was taken for dead. One that stands still
    inside a COPY is not idle to its server, which would wait for it without end.
    """
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND starts_with(application_name, %s) AND application_name <> %s",
        (_sessions_of(way.move), way.session),
    )


def _sessions_of(move: MoveId) -> str:
    return f"tiergate move {move} "
