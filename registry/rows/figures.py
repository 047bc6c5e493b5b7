"""How much there is of what somebody must look after in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, Float, cast, func, literal, select, union_all

from registry.rows.asking import Asking, rows
from registry.tables import ADMIN_KEY, CREDENTIAL, DATA_DATABASE

SOON = timedelta(days=7)
"""A key that expires within it wants a successor."""

_NOW = func.clock_timestamp()
_KEYS = {"credential": CREDENTIAL, "admin-key": ADMIN_KEY}


def _states(expires_at: Column[datetime]) -> dict[str, ColumnElement[bool]]:
    return {
        "active": expires_at.is_(None) | (expires_at > _NOW + SOON),
        "expiring": expires_at.between(_NOW, _NOW + SOON),
        "expired": expires_at < _NOW,
    }


_AGE_S = func.max(func.extract("epoch", _NOW - DATA_DATABASE.c.context_since))
# One round trip for all of it.
_FIGURES = union_all(
    *(
        select(
            literal(kind).label("of"), literal(state).label("name"), cast(func.count(), Float).label("is")
        ).where(keys.c.revoked_at.is_(None), is_so)
        for kind, keys in _KEYS.items()
        for state, is_so in _states(keys.c.expires_at).items()
    ),
    select(literal("context-key"), DATA_DATABASE.c.cluster, cast(_AGE_S, Float)).group_by(
        DATA_DATABASE.c.cluster
    ),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted.

    Attributes:
        credentials: API keys that nobody revoked: "active", "expiring" within a week, or "expired".
        admin_keys: The same of operators' keys.
        context_key_age_s: By cluster, since when the oldest key signs that signs there.
    """

    credentials: Mapping[str, int]
    admin_keys: Mapping[str, int]
    context_key_age_s: Mapping[str, float]


class Counting(Asking):
    """What there is, counted."""

    async def figures(self) -> Figures:
        """What there is now."""
        async with self._reading() as connection:
            found = await rows(connection, _FIGURES)
        keys = {
            kind: {each["name"]: int(each["is"]) for each in found if each["of"] == kind} for kind in _KEYS
        }
        ages_s = {each["name"]: each["is"] for each in found if each["of"] == "context-key"}
        return Figures(keys["credential"], keys["admin-key"], ages_s)
