"""What the admin API answers about the running gateways, as shapes."""

from datetime import datetime
from typing import Any, Literal

from admin.told import OrderTold, Told
from tiergate.tenant import Tier


class BudgetTold(Told):
    """Server connections to one cluster that a process may have, and has."""

    cluster: str
    max: int
    used: int
    opening: int
    is_up: bool


class PoolTold(Told):
    """Connections to one place, in one process."""

    place: str
    cluster: str
    tier: Tier
    active: int
    idle: int
    waiting: int
    opening: int
    closing: int
    retired: bool
    default_pool_size: int


class LogTold(Told):
    """How much the log of one process says, and the number of the operator's last word on it."""

    level: str
    heard: int
    left_s: float | None


class PoolsTold(Told):
    """What one process holds."""

    pools: list[PoolTold]
    budgets: list[BudgetTold]
    more_pools: int
    log: LogTold | None


class ProcessTold(Told):
    """A process of a gateway."""

    id: str
    gateway: str
    pid: int
    version: str
    started_at: datetime
    silent_s: float
    is_silent: bool


class ProcessLevelTold(Told):
    """One process, how much its log says, and whether it has heard what was asked."""

    gateway: str
    pid: int
    level: str | None
    left_s: float | None
    silent_s: float
    state: Literal["done", "unanswered", "silent"]


class LevelsTold(Told):
    """How much the logs of all processes say."""

    processes: list[ProcessLevelTold]


class LevelSetTold(LevelsTold):
    """The same, and whether every process has heard it."""

    done: bool


class ProcessHoldingTold(ProcessTold):
    """A process, and what it had when it was last heard of; by the shapes of its own version."""

    pools: list[dict[str, Any]]  # of another version, perhaps
    budgets: list[dict[str, Any]]  # the same
    more_pools: int
    log: LogTold | None


class PoolSumTold(Told):
    """One place's pools in all processes."""

    place: str
    cluster: str
    tier: Tier
    processes: int
    active: int
    idle: int
    waiting: int
    opening: int
    closing: int


class BudgetSumTold(Told):
    """One cluster's budgets in all processes."""

    cluster: str
    processes: int
    max: int
    used: int


class GatewaysTold(Told):
    """All processes of all gateways."""

    processes: list[ProcessHoldingTold]
    pools: list[PoolSumTold]
    budgets: list[BudgetSumTold]


class ProcessAnswerTold(ProcessTold):
    """What one process says of an order; counts are missing until it has answered."""

    state: Literal["done", "running", "unanswered", "silent"]
    requests: int = 0
    waiting: int = 0
    connections: int = 0
    ended: int = 0
    oldest_s: float = 0.0


class OrderGivenTold(Told):
    """An order, and what became of it."""

    order: OrderTold
    done: bool
    over: bool
    processes: list[ProcessAnswerTold]


class ReloadTold(Told):
    """Settings that changed, by name."""

    applied: list[str]
    needs_restart: list[str]


class DocumentTold(Told):
    """What this API takes, tells and refuses, in OpenAPI 3.1."""

    openapi: str
    info: dict[str, Any]  # told in OpenAPI's own specification
    servers: list[dict[str, Any]]  # the same
    paths: dict[str, Any]  # the same
    components: dict[str, Any]  # the same


class LiveTold(Told):
    """The process answers."""

    status: Literal["live"]


class ReadyTold(Told):
    """Whether requests may be sent here, and what is known of each cluster."""

    ready: bool
    draining: bool
    registry: Literal["up", "down"]
    clusters: dict[str, Literal["up", "down"]]


class SqlTold(Told):
    """The answer of the `/sql` door; rows are arrays of text as Postgres writes it, or objects."""

    fields: list[dict[str, Any]]  # told in docs/reference/sql-over-http.md
    rows: list[Any]  # the same
    command: str
    rowCount: int | None  # noqa: N815 - the name in the /sql format
    rowAsArray: bool  # noqa: N815 - the same


class SqlFailedTold(Told):
    """A statement's error, as at the `/sql` door: all members are there, and null where nothing is known."""

    message: str
    code: str
