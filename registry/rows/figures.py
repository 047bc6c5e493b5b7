"""How much there is of what somebody must look after in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Float, cast, func, literal, select, union_all

from registry.rows.asking import Asking, rows
from registry.tables import CREDENTIAL, DATA_DATABASE

SOON = timedelta(days=7)
"""A key that expires within it wants a successor."""

_EXPIRES, _NOW = CREDENTIAL.c.expires_at, func.clock_timestamp()
_STATES = {
    "active": _EXPIRES.is_(None) | (_EXPIRES > _NOW + SOON),
    "expiring": _EXPIRES.between(_NOW, _NOW + SOON),
    "expired": _EXPIRES < _NOW,
}
_AGE_S = func.max(func.extract("epoch", _NOW - DATA_DATABASE.c.context_since))
# One round trip for all of it.
_FIGURES = union_all(
    *(
        select(
            literal("credential").label("of"),
            literal(state).label("name"),
            cast(func.count(), Float).label("is"),
        ).where(CREDENTIAL.c.revoked_at.is_(None), is_so)
        for state, is_so in _STATES.items()
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
        context_key_age_s: By cluster, since when the oldest key signs that signs there.
    """

    credentials: Mapping[str, int]
    context_key_age_s: Mapping[str, float]


class Counting(Asking):
    """What there is, counted."""

    async def figures(self) -> Figures:
        """What there is now."""
        async with self._reading() as connection:
            found = await rows(connection, _FIGURES)
        return Figures(
            {each["name"]: int(each["is"]) for each in found if each["of"] == "credential"},
            {each["name"]: each["is"] for each in found if each["of"] == "context-key"},
        )
