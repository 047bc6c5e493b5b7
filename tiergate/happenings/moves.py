"""What happens to moves."""

from dataclasses import dataclass

from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class MoveStepped:
    """A move has come to another state, as this process has brought it there.

    Attributes:
        state: See `registry.moves.MoveState`.
    """

    move: str
    tenant: TenantId
    state: str


@dataclass(frozen=True, slots=True)
class MoveCutOver:
    """A tenant has moved, or returned.

    Attributes:
        tier: Where it lives from now on.
        pause_s: For how long its requests were held at gates, from the first word to the last.
        locked_s: For how long they would have waited in the database meanwhile.
        keys: How many changed rows were brought over in that time.
    """

    move: str
    tenant: TenantId
    tier: Tier
    pause_s: float
    locked_s: float
    keys: int


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """A piece of a move did not succeed; it is tried again, put off, or the move is taken back.

    Attributes:
        state: In which it was.
        outcome: The error's stable code.
    """

    move: str
    tenant: TenantId
    state: str
    outcome: str
    error: str
    is_retried: bool


@dataclass(frozen=True, slots=True)
class MoveCopied:
    """Rows of a tenant were brought to its new place.

    Attributes:
        rows: How many since this was last told, by this process.
    """

    move: str
    tenant: TenantId
    rows: int


MoveEvent = MoveStepped | MoveCutOver | MoveFailed | MoveCopied
