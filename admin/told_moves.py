"""What the admin API answers about moves, as shapes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from admin.told import Told
from registry.moves import MoveState, Wanted
from tiergate.tenant import Tier


class SpotTold(Told):
    """One end of a move."""

    cluster: str
    tier: Tier
    place: str


class MoveTold(Told):
    """A move, how far it is, and who has it."""

    id: str
    tenant: str
    state: MoveState
    is_over: bool
    is_paused: bool
    wanted: Wanted | None
    source: SpotTold = Field(alias="from")
    target: SpotTold = Field(alias="to")
    epoch: int
    target_epoch: int | None
    hold: bool
    at: datetime | None
    soak_s: float
    actor: str
    worker: str | None
    progress: dict[str, Any]  # what a worker tells people; may change between versions
    error: str | None
    created_at: datetime
    changed_at: datetime
    cut_over_at: datetime | None
    soaks_until: datetime | None
    ended_at: datetime | None
    has_evidence: bool


class MoveStepTold(Told):
    """One line of a move's journal."""

    at: datetime
    state: MoveState
    detail: dict[str, Any]  # as `progress`


class MoveShownTold(MoveTold):
    """A move with its journal."""

    steps: list[MoveStepTold]


class MovesTold(Told):
    """Moves, the latest first."""

    moves: list[MoveTold]


class FindingTold(Told):
    """What would make a move fail, or may."""

    code: str
    forbids: bool
    what: str
    where: str
    cure: str


class TableTold(Told):
    """What a move would copy of one table, by the planner's estimates."""

    table: str
    rows: int
    size_bytes: int


class PreflightTold(Told):
    """What was seen at both ends."""

    refused: bool
    findings: list[FindingTold]
    rows: int
    size_bytes: int
    tables: list[TableTold]
    duration_s: float
    pause_ms: float


class DryRunTold(PreflightTold):
    """What a move would be; nothing was changed."""

    dry_run: Literal[True]
    tenant: str
    source: str = Field(alias="from")
    target: str = Field(alias="to")
    tier: Tier


class MovePlannedTold(MoveTold):
    """A move that is written down."""

    preflight: PreflightTold


class EvidenceTold(Told):
    """The signed record of a move."""

    move: str
    record: dict[str, Any]  # told in docs/reference/moves.md
    signature: str
    is_authentic: bool
