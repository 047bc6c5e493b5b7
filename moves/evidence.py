"""What a move leaves behind as proof: what was moved, when, for whom, and that both ends were equal.

The registry signs it (`registry.rows.moving`). Whole numbers and text only: what is signed must read the
same after Postgres has kept it as JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.moves import Move, Spot
from tiergate import __version__

RECORD_VERSION = 1


@dataclass(frozen=True, slots=True)
class TableProof:
    """One table, as it was at both ends when they were found equal.

    Attributes:
        rows: Of the tenant.
        source: Digest of all of them at the source, in hexadecimal.
        target: The same at the target.
    """

    table: str
    rows: int
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Cutover:
    """The moment at which the tenant changed its place.

    Attributes:
        attempts: How many it took.
        locked_ms: For which the tenant's lock was held, in the attempt that succeeded.
        delta_rows: How many changed rows were brought over meanwhile, and compared. Both are None when the
            worker died before it could write them down.
    """

    epoch: int
    attempts: int
    locked_ms: int | None
    delta_rows: int | None


@dataclass(frozen=True, slots=True)
class Servers:
    """Postgres's own words for its version, at each end."""

    source: str
    target: str


def record(
    move: Move,
    *,
    cutover: Cutover,
    tables: Sequence[TableProof],
    servers: Servers,
) -> dict[str, object]:
    """The record of a move, to be signed; what is left of its old place is not known yet."""
    return {
        "version": RECORD_VERSION,
        "move": move.id,
        "tenant": move.tenant,
        "actor": move.actor,
        "asked_at": move.created_at.isoformat(),
        "cut_over_at": None if move.cut_over_at is None else move.cut_over_at.isoformat(),
        "from": _spot(move.source) | {"epoch": move.epoch},
        "to": _spot(move.target) | {"epoch": cutover.epoch},
        "cutover": {
            "attempts": cutover.attempts,
            "locked_ms": cutover.locked_ms,
            "delta_rows": cutover.delta_rows,
        },
        "rows": sum(table.rows for table in tables),
        "tables": {
            table.table: {"rows": table.rows, "source": table.source, "target": table.target}
            for table in tables
        },
        "is_equal": all(table.source == table.target for table in tables),
        "servers": {"source": servers.source, "target": servers.target},
        "tiergate": __version__,
        "removed": None,
        "given_up": None,
    }


def _spot(spot: Spot) -> dict[str, object]:
    return {"cluster": spot.cluster, "tier": spot.tier, "place": spot.place}
