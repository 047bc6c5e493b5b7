"""What the admin API answers about who uses what, as shapes."""

from datetime import datetime

from pydantic import Field

from admin.told import Told
from registry.usage import Period
from tiergate.tenant import Tier


class TableRowsTold(Told):
    """About how many rows a table has."""

    table: str
    rows: int


class FailedTold(Told):
    """Why a database could not be asked."""

    code: str
    message: str


class ClusterLoadTold(Told):
    """What one cluster does."""

    cluster: str
    tier: Tier
    tenants: int
    requests: int
    database_s: float
    waiting_s: float
    connections: float
    rows: int
    rows_of_others: TableRowsTold | None
    rows_unknown: list[str]
    rows_failed: list[FailedTold]


class StandingTold(Told):
    """One tenant's share of what its cluster does, and what to do with it."""

    tenant: str
    tier: Tier
    cluster: str
    region: str | None
    compliance: str | None
    requests: int
    requests_share: float
    database_s: float
    database_share: float
    connections: float
    waiting_s: float
    waiting_share: float
    missed_share: float
    rows: int | None
    rows_share: float | None
    largest_table: TableRowsTold | None
    signals: list[str]
    to: Tier | None
    advice: str | None


class AdviceTold(Told):
    """Who stands out, most in need first."""

    processes: int
    untold: int
    over_s: float
    clusters: list[ClusterLoadTold]
    tenants: list[StandingTold]


class BusyTold(Told):
    """What one tenant does now, in all processes."""

    tenant: str
    tier: Tier | None
    cluster: str | None
    requests_per_s: float
    errors_per_s: float
    connections: float
    waited_s: float
    waiting: int
    oldest_s: float
    error: str | None


class BusiestTold(Told):
    """Who stands first in anything."""

    processes: int
    untold: int
    over_s: float
    tenants: list[BusyTold]


class UsedTold(Told):
    """What one tenant has used in one period on one tier."""

    tenant: str
    since: datetime = Field(alias="from")
    tier: Tier
    requests: int
    failed_requests: int
    rows: int
    in_bytes: int
    out_bytes: int
    database_s: float
    connection_s: float
    storage_bytes: int | None


class UsageTold(Told):
    """A page of what tenants have used."""

    by: Period
    usage: list[UsedTold]
    next: str | None
