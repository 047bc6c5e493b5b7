"""Puts the record of a move together from what its stages have found out, and written down on the way."""

from collections.abc import Mapping

from fleet.access import Connection
from moves.evidence import Cutover, Servers, TableProof, record
from moves.ground import Ground
from moves.states import put_offs
from registry.moves import Move
from registry.placement import Place
from tiergate.tenant import Tier

_NOTHING_LEFT: Mapping[Tier, tuple[str, ...]] = {
    Tier.STANDARD: ("rows", "log_lines"),
    Tier.PREMIUM: ("schemas", "logins", "log_lines"),
    Tier.GOVERNMENT: ("databases", "logins"),
}
"""What was looked for at an old place and not found, when a move is done; see moves/cleaning.py."""


async def of(move: Move, back: Ground) -> Mapping[str, object]:
    """The record of a move that has been cut over.

    Args:
        back: Both ends; the way leads back.
    """
    cut = _mapping(move.progress.get("cut"))
    return record(
        move,
        cutover=Cutover(
            move.target_epoch or 0, put_offs(move) + 1, _number(cut, "locked_ms"), _number(cut, "keys")
        ),
        tables=_proofs(move.progress.get("proofs")),
        servers=Servers(await _version(back.target), await _version(back.source)),
    )


def given_up(place: Place, why: str) -> dict[str, str]:
    """What is told of a place that was not reached, so that what is there is left."""
    return {"cluster": place.cluster, "place": place.id, "database": place.database, "why": why}


def cleaned(move: Move, left: Mapping[str, str] | None = None) -> Mapping[str, object] | None:
    """The same record, once the old place is cleaned; None when there is none.

    Args:
        left: What `given_up` tells, if the old place was not reached: then nothing was looked for there.
    """
    kept = _mapping(_mapping(move.evidence).get("record"))
    if not kept:
        return None
    if left is not None:
        return {**kept, "given_up": dict(left)}
    return {**kept, "removed": dict.fromkeys(_NOTHING_LEFT[move.source.tier], 0)}


def _proofs(told: object) -> list[TableProof]:
    proofs = [_mapping(each) for each in told] if isinstance(told, list) else []
    return [
        TableProof(str(each["table"]), _number(each, "rows") or 0, str(each["source"]), str(each["target"]))
        for each in proofs
    ]


def _number(told: Mapping[str, object], name: str) -> int | None:
    value = told.get(name)
    return value if isinstance(value, int) else None


def _mapping(told: object) -> Mapping[str, object]:
    return told if isinstance(told, Mapping) else {}


async def _version(connection: Connection) -> str:
    row = await (await connection.execute(b"SHOW server_version")).fetchone()
    return str(row[0]) if row else ""
