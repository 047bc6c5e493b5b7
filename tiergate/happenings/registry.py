"""What the registry holds, as far as operators watch it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegistryCounted:
    """The registry was asked how much there is of what somebody must look after.

    Attributes:
        moves: How many are open, by state; of states without one nothing need be said.
        move_idle_s: For how long the one that has stood still longest has; of those that should go on.
        credentials: How many API keys there are that nobody revoked: "active", "expiring" or "expired".
        admin_keys: The same of operators' keys.
        context_key_age_s: By cluster, since when the oldest key signs that signs there.
    """

    moves: Mapping[str, int]
    move_idle_s: float
    credentials: Mapping[str, int]
    admin_keys: Mapping[str, int]
    context_key_age_s: Mapping[str, float]
