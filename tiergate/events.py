"""What happened, told once. Folding into metrics and logs is `observe`'s business.

An event carries facts, never row values, SQL text or secrets.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tiergate.happenings.moves import MoveEvent
from tiergate.happenings.orders import OrderEvent
from tiergate.happenings.refusals import RefusalEvent
from tiergate.happenings.registry import RegistryCounted
from tiergate.happenings.traces import SpansLost
from tiergate.happenings.usage import UsageEvent
from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """One request to a door has its answer.

    Attributes:
        tenant, cluster: None while nobody is identified.
        outcome: "ok", or the error's stable code.
        status: The honest HTTP status.
        auth_s, queue_s, connect_s, database_s: Where the time went, seconds.
        total_s: From the request's first byte read to its last byte handed over.
        error: What it was refused for; the log may say more of it than the caller was told.
        rows: How many rows it was answered with; of a stream, those that were on their way.
        bytes_in, bytes_out: Of its body as it was read, and of the answer's.
        stalled_s: How much of `database_s` the server was not asked for, since a stream's caller read slowly.
        encode_s: Of making the answer of its results; 0 where that goes on while they come.
        round_trips: To a database.
        trace_id: Of the trace that it is a part of.
    """

    request_id: str
    tenant: TenantId | None
    tier: Tier | None
    outcome: str
    status: int
    auth_s: float
    queue_s: float
    connect_s: float
    database_s: float
    total_s: float
    error: Exception | None = None
    cluster: str | None = None
    rows: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    stalled_s: float = 0.0
    encode_s: float = 0.0
    round_trips: int = 0
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A server connection was dialled; it counts since the dial began."""

    cluster: str
    tier: Tier
    took_s: float


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A server connection is gone, as confirmed by the server (or its socket)."""

    cluster: str
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A server connection could not be opened."""

    cluster: str
    tier: Tier
    error: str


@dataclass(frozen=True, slots=True)
class ProtectionLost:
    """A place is served no more, since tenants are not kept apart there.

    Attributes:
        reason: Which table or view, and what is wrong with it.
    """

    place: str
    cluster: str
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True)
class ServerLost:
    """A cluster lets nobody in: until one dial succeeds, nobody else tries."""

    cluster: str
    error: str


@dataclass(frozen=True, slots=True)
class ServerFound:
    """A cluster lets us in again."""

    cluster: str
    after_s: float


@dataclass(frozen=True, slots=True)
class ClockRead:
    """A database's clock was read.

    Attributes:
        offset_s: How far it is ahead of ours; negative when it is behind.
        error_s: By how much that may be wrong: half of the round trip.
    """

    cluster: str
    offset_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class ClockOff:
    """A database's clock and ours are more than 5 s apart since now, or one of the two has jumped.

    Attributes:
        jumped_s: By how much the offset has changed since the last reading.
    """

    cluster: str
    offset_s: float
    jumped_s: float


@dataclass(frozen=True, slots=True)
class PoolClosed:
    """A pool left the cache of pools."""

    cluster: str
    tier: Tier
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaMeasured:
    """How old what a replica shows is.

    Attributes:
        staleness_s: None when that is not known, or nobody asks any more.
    """

    cluster: str
    replica: str
    staleness_s: float | None


@dataclass(frozen=True, slots=True)
class ReplicaLost:
    """A replica does not answer, or is none any more; what would be read there is read at the cluster."""

    cluster: str
    replica: str
    error: str


@dataclass(frozen=True, slots=True)
class ReplicaFound:
    """A replica that was lost is there again."""

    cluster: str
    replica: str


@dataclass(frozen=True, slots=True)
class StaleRead:
    """A request that accepts staleness was read somewhere.

    Attributes:
        served_by: "replica", or why it was the cluster itself: "no-replica", "unknown-lag", "too-stale",
            "serializable", or "failed" at the replica.
    """

    tier: Tier
    served_by: str


@dataclass(frozen=True, slots=True)
class StaleRouteRefused:
    """A database's fence refused our route; the placement is read anew."""

    tenant: TenantId
    tier: Tier
    fence_state: str


@dataclass(frozen=True, slots=True)
class CacheAnswered:
    """The registry's cache was asked.

    Attributes:
        cache: "placement" or "credential".
        outcome: "hit", "miss", "negative" or "stale".
    """

    cache: str
    outcome: str


@dataclass(frozen=True, slots=True)
class RegistryLost:
    """The registry does not answer, or its notifications have stopped; cached answers serve."""

    error: str


@dataclass(frozen=True, slots=True)
class RegistryFound:
    """The registry answers and notifies again; what was cached meanwhile is dropped."""


@dataclass(frozen=True, slots=True)
class AuditGrew:
    """The audit's newest entry was written here, or found at the start.

    Attributes:
        entries: Its number, and so how many there are.
        head: Number and code, to be remembered elsewhere.
        act: None when it was found.
    """

    entries: int
    head: str
    act: str | None


@dataclass(frozen=True, slots=True)
class AuditCut:
    """The audit ends before an entry that this process has seen there, or has another in its place.

    Attributes:
        known: The head that was seen.
        found: The head that is there.
    """

    known: str
    found: str


@dataclass(frozen=True, slots=True)
class LoopFailed:
    """A background loop met an error it does not know, and goes on."""

    loop: str
    error: str


Event = (
    RequestAnswered
    | ConnectionOpened
    | ConnectionClosed
    | DialFailed
    | ProtectionLost
    | ServerLost
    | ServerFound
    | ClockRead
    | ClockOff
    | PoolClosed
    | ReplicaMeasured
    | ReplicaLost
    | ReplicaFound
    | StaleRead
    | StaleRouteRefused
    | CacheAnswered
    | RegistryLost
    | RegistryFound
    | AuditGrew
    | AuditCut
    | OrderEvent
    | MoveEvent
    | UsageEvent
    | RefusalEvent
    | RegistryCounted
    | SpansLost
    | LoopFailed
)
Emit = Callable[[Event], None]
