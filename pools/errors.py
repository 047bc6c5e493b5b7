"""What can go wrong between a tenant and its database."""

from dataclasses import dataclass
from typing import ClassVar

from tiergate.errors import TiergateError
from tiergate.tenant import TenantId

_LONGEST_RETRY_S = 30.0


class StatementRefused(TiergateError):
    """The text is no statement that runs here."""

    code = "statement-refused"
    advice = "Send one SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES, with or without WITH."

    def __init__(self, keyword: str) -> None:
        what = "there is no statement in the text"
        if keyword:
            what = f"{keyword.upper()} is not a statement that runs here"
        super().__init__(f"{what}: one SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES is")
        self.keyword = keyword


class StatementCostly(TiergateError):
    """The text alone would hold up the server's scanner or take its memory, before any timeout counts."""

    code = "statement-costly"
    advice = "Write fewer operator characters in a row, and number parameters from $1 on."

    def __init__(self, reason: str) -> None:
        super().__init__(f"the statement costs too much to read: {reason}")
        self.reason = reason


class StatementTooLong(TiergateError):
    """The text names the application's schema, and is too long to be searched for that."""

    code = "statement-too-long"
    advice = "Send values as parameters, or leave the schema's name out: the search path finds the tables."

    def __init__(self, limit: int) -> None:
        super().__init__(f"a statement that names the schema may have {limit} characters at most")


@dataclass(frozen=True, slots=True)
class PgError:
    """What Postgres said of a failed statement; None where it said nothing.

    Source:
        PostgreSQL 18, 54.8 "Error and Notice Message Fields".
    """

    message: str
    code: str
    severity: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: str | None = None
    internal_position: str | None = None
    internal_query: str | None = None
    where: str | None = None
    schema: str | None = None
    table: str | None = None
    column: str | None = None
    data_type: str | None = None
    constraint: str | None = None
    file: str | None = None
    line: str | None = None
    routine: str | None = None


class StatementFailed(TiergateError):
    """Postgres refused the statement; the transaction is rolled back."""

    code = "statement-failed"
    advice = "The message and SQLSTATE are Postgres's own."

    def __init__(self, error: PgError, index: int) -> None:
        """*index* counts the statements of a batch from 0."""
        super().__init__(error.message)
        self.error = error
        self.index = index
        self.reason = f"SQLSTATE {error.code}"  # for the log, which shall hold no value


class PoolExhausted(TiergateError):
    """No connection came free before the deadline."""

    code = "pool-exhausted"
    retryable = True
    advice = (
        "Try again shortly; if it lasts, raise default_pool_size or max_db_connections,"
        " or promote the tenant."
    )

    def __init__(self, pool: str, waited_s: float) -> None:
        super().__init__(f"pool {pool!r} had no free connection for {waited_s:.2f} s")
        self.pool = pool
        self.waited_s = waited_s


class QueueFull(TiergateError):
    """Too many requests wait for the same pool already."""

    code = "queue-full"
    retryable = True
    advice = "Try again shortly; if it lasts, raise max_waiting, max_tenant_waiting or default_pool_size."

    def __init__(self, pool: str, waiting: int, tenant: TenantId | None = None) -> None:
        """*tenant* is whose requests they are, if it is one's alone."""
        whose = "" if tenant is None else f" of tenant {tenant!r}"
        super().__init__(f"{waiting} requests{whose} wait for pool {pool!r} already")
        self.pool = pool
        self.waiting = waiting


class DatabaseUnavailable(TiergateError):
    """The tenant's database cannot be reached, or refuses us."""

    code = "database-unavailable"
    retryable = True
    advice = "Try again; the operator finds the cause under `tiergate cluster show` and in the log."

    def __init__(
        self, cluster: str, reason: str, *, is_of_server: bool = False, is_silent: bool = False
    ) -> None:
        """*reason* is for the log: it may name hosts and roles, and is not sent to tenants.

        Args:
            is_of_server: Every login there would meet the same.
            is_silent: There was no answer at all.
        """
        super().__init__(f"the database on cluster {cluster!r} cannot be reached")
        self.cluster = cluster
        self.reason = reason
        self.is_of_server = is_of_server
        self.is_silent = is_silent

    def again(self) -> "DatabaseUnavailable":
        """The same for somebody else: an error that is raised twice drags its first traces along."""
        return DatabaseUnavailable(self.cluster, self.reason)


class PlaceUnprotected(DatabaseUnavailable):
    """A table that several tenants may reach is not under the rule; nobody is served there until it is."""

    code = "place-unprotected"
    advice = "Nothing ran. The operator finds the table in the log, and with `tiergate verify`."

    def __init__(self, cluster: str, place: str, reason: str) -> None:
        """*reason* names the table, for the log."""
        super().__init__(cluster, reason)
        self.args = (f"place {place!r} on cluster {cluster!r} does not keep its tenants apart",)
        self.place = place

    def again(self) -> "PlaceUnprotected":
        """The same for somebody else."""
        return PlaceUnprotected(self.cluster, self.place, self.reason)


class ConnectionLost(TiergateError):
    """The server hung up during the request; whether it took effect is unknown."""

    code = "connection-lost"
    retryable = True
    advice = "Whether the statement took effect is unknown: look before repeating a write."

    def __init__(self, reason: str) -> None:
        """*reason* is for the log."""
        super().__init__("the connection to the database was lost during the request")
        self.reason = reason


class StaleRoute(TiergateError):
    """The fence in the database says that it does not serve this tenant at this epoch."""

    code = "stale-route"
    retryable = True
    advice = "Try again; the tenant is being moved or its place is being changed."

    def __init__(self, tenant: TenantId, fence_state: str, forward_epoch: int | None = None) -> None:
        """*forward_epoch* is since when it is served elsewhere, where the fence says so."""
        super().__init__(f"tenant {tenant!r} is not served where the registry says ({fence_state})")
        self.tenant = tenant
        self.fence_state = fence_state
        self.forward_epoch = forward_epoch


class HeldUp(TiergateError):
    """The request was held at a gate, and its tenant may live elsewhere by now."""

    code = "held-up"
    retryable = True
    advice = "Try again; the tenant was being moved all the time."

    def __init__(self, tenant: TenantId) -> None:
        super().__init__(f"requests of tenant {tenant!r} were held again and again")


class ContextRefused(TiergateError):
    """The database does not accept our signature for the tenant."""

    code = "context-refused"
    advice = (
        "The master key, the database's context key and the clocks must agree; see docs/how-to/operate.md."
    )

    def __init__(self, tenant: TenantId, cluster: str, reason: str, doubt: str = "") -> None:
        """*reason* is for the log; *doubt* is what may be out of date: "key", "clock", or nothing."""
        super().__init__(
            f"the database on cluster {cluster!r} did not accept the request's context for {tenant!r}"
        )
        self.tenant = tenant
        self.cluster = cluster
        self.reason = reason
        self.doubt = doubt


class DeadlineExceeded(TiergateError):
    """The request's time is over."""

    code = "deadline-exceeded"
    retryable = True
    advice = (
        "Make the statement cheaper, or raise request_timeout_s, the tier's statement_timeout_s"
        " or, for a streamed answer, stream_timeout_s."
    )
    stages: ClassVar[tuple[str, ...]] = ("queue", "connect", "database")

    def __init__(self, stage: str) -> None:
        super().__init__(f"the request's time ended in stage {stage!r}")
        self.stage = stage


class ResponseTooLarge(TiergateError):
    """The answer is larger than the gateway hands on."""

    code = "response-too-large"
    advice = "Ask for fewer rows or columns, with LIMIT or by pages."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"response is too large (max is {limit_bytes} bytes)")
        self.limit_bytes = limit_bytes


class PoolsExhausted(TiergateError):
    """Every pool that may be open is in use."""

    code = "pools-exhausted"
    retryable = True
    advice = "Try again shortly; if it lasts, raise max_pools."

    def __init__(self, max_pools: int) -> None:
        super().__init__(f"all {max_pools} pools are in use")
        self.max_pools = max_pools


class Paused(TiergateError):
    """An operator has paused the tenant, its pool or its cluster, for longer than the request may wait."""

    code = "paused"
    retryable = True
    advice = "Try again shortly; a pause ends by itself, or by `tiergate resume`. Nothing was run."

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"an operator has paused what the request needs; it waited {waited_s:.2f} s")
        self.waited_s = waited_s


class Drained(TiergateError):
    """An operator has taken the tenant, its pool or its cluster out of service for some time."""

    code = "drained"
    retryable = True
    advice = "Try again later; a drain ends by itself, or by `tiergate resume`. Nothing was run."

    def __init__(self, left_s: float) -> None:
        """*left_s* is until it ends by itself."""
        super().__init__("an operator has taken what the request needs out of service for some time")
        self.wait_s = min(_LONGEST_RETRY_S, left_s)


class Killed(TiergateError):
    """An operator has ended the request.

    Attributes:
        was_running: Whether it had begun, so that it may have taken effect.
    """

    code = "killed"
    retryable = True
    advice = "If it had begun, whether it took effect is unknown: look before repeating a write."

    def __init__(self, *, was_running: bool) -> None:
        how = "while it ran; whether it took effect is unknown" if was_running else "before it had begun"
        super().__init__(f"an operator has ended the request {how}")
        self.was_running = was_running
