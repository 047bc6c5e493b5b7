"""How far a server has come in its write-ahead log, asked as the administrator."""

from dataclasses import dataclass

from fleet.access import Connection

# On a primary what is durable; on a standby what is visible. A standby that hears of nobody says which
# history it follows by its control file, which may be behind: then it is taken for older than it is.
_QUESTION = b"""
SELECT (SELECT system_identifier FROM pg_control_system()), r.is_standby,
    CASE WHEN r.is_standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0',
    CASE WHEN r.is_standby
        THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()))
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer END
FROM (SELECT pg_is_in_recovery() AS is_standby) AS r
"""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a server stands.

    Attributes:
        system: The number that a primary and its standbys have in common, and no other server.
        lsn: Bytes of log: on a primary those on its disk, on a standby those replayed.
        timeline: Whose history that is; a promotion begins another one, in which other things stand
            at the same place of the log.
    """

    system: int
    is_standby: bool
    lsn: int
    timeline: int


async def position(admin: Connection) -> Position:
    """Ask a server where it stands; one round trip."""
    cursor = await admin.execute(_QUESTION)
    found = await cursor.fetchone() or (0, False, 0, 0)
    return Position(int(found[0]), bool(found[1]), int(found[2] or 0), int(found[3] or 0))
