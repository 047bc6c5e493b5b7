"""What happened, told once. Folding into metrics and logs is `observe`'s business.

An event carries facts, never row values, SQL text or secrets.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
class GatesSet:
    """What operators have paused or drained has changed, in this process.

    Attributes:
        paused, drained: How many tenants, pools and clusters are, now.
    """

    paused: int
    drained: int


@dataclass(frozen=True, slots=True)
class OrderDone:
    """This process has carried out an operator's order.

    Attributes:
        order: Its number.
        scope: As "tenant 'acme'".
        took_s: Since this process has heard of it.
    """

    order: int
    verb: str
    scope: str
    actor: str
    took_s: float


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
    | GatesSet
    | OrderDone
    | MoveStepped
    | MoveCutOver
    | MoveFailed
    | LoopFailed
)
Emit = Callable[[Event], None]
