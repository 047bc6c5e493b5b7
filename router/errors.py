"""What the edge refuses by itself, before any database is asked."""

from tiergate.errors import TiergateError
from tiergate.tenant import TenantId


class BadRequest(TiergateError):
    """The request is not one that the door can read."""

    code = "bad-request"
    advice = (
        'Send {"query": text, "params": [...]} or {"queries": [...]}; see docs/reference/sql-over-http.md.'
    )


class NotJson(BadRequest):
    """The body is no JSON text in UTF-8."""

    code = "not-json"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the body is not JSON: {reason}")


class WrongShape(BadRequest):
    """The body is JSON, but not of the shape that the door reads."""

    code = "wrong-shape"

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(f"{where} must be {expected}")
        self.where = where


class TooManyStatements(BadRequest):
    """A batch holds more statements than one transaction may."""

    code = "too-many-statements"
    advice = "Split the batch, or write several rows with one statement, for example with unnest()."

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"a batch of {count} statements is too long (max is {limit})")


class TooManyParameters(BadRequest):
    """A statement has more parameters than the Postgres protocol can carry."""

    code = "too-many-parameters"
    advice = "Send one array parameter and take it apart with unnest()."

    def __init__(self, where: str, count: int, limit: int) -> None:
        super().__init__(f"{where} has {count} parameters, more than a statement can carry (max is {limit})")


class NestedTooDeep(BadRequest):
    """Arrays or objects in the body lie too deep in each other."""

    code = "nested-too-deep"
    advice = "Send deep documents as JSON text in a string."

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is nested too deep")


class TextNotStorable(BadRequest):
    """A text holds a character that Postgres cannot keep."""

    code = "text-not-storable"
    advice = 'Postgres text holds any Unicode character but NUL; send binary data as bytea ("\\\\x00ff").'

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where} holds {what}, which Postgres cannot keep in text")


class EmptyStatement(BadRequest):
    """The text of a statement is empty."""

    code = "empty-statement"

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is empty")


class BadHeader(BadRequest):
    """A request header cannot be understood; its value is never repeated, for it may hold a key."""

    code = "bad-header"
    advice = "See docs/reference/sql-over-http.md for the headers and their values."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"header {name}: {reason}")
        self.name = name


class MalformedHttp(BadRequest):
    """What came is no HTTP/1.1 request, so that nothing in it can be believed."""

    code = "malformed-http"
    advice = "Send HTTP/1.1; a client library, or a proxy in between, makes it wrong."

    def __init__(self) -> None:
        super().__init__("what was sent is not an HTTP/1.1 request")


class HeadTooLarge(BadRequest):
    """The request line and the headers together are larger than the gateway takes."""

    code = "head-too-large"
    advice = "Send fewer and shorter headers; what belongs to the query goes into the body."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request line and the headers are too large (max is {limit_bytes} bytes)")
        self.limit_bytes = limit_bytes


class HeadTooSlow(BadRequest):
    """The headers did not arrive in time."""

    code = "head-too-slow"
    retryable = True
    advice = "Send the headers at once; the limit is body_timeout_s."

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request's headers did not arrive within {limit_s:g} s")
        self.limit_s = limit_s


class Unidentified(TiergateError):
    """The request does not prove who sends it.

    A wrong key, a key of another tenant and an unknown tenant read the same from
    outside; what it was is for the log.

    Attributes:
        reason: What was wrong, without the credential.
    """

    code = "unidentified"
    advice = (
        "The key must be valid and belong to the tenant that the connection string or the subdomain names."
    )

    def __init__(self, reason: str) -> None:
        super().__init__("password authentication failed: the tenant or its key is wrong")
        self.reason = reason


class NoCredential(TiergateError):
    """The request carries no credential at all."""

    code = "no-credential"
    advice = "Send `Authorization: Bearer KEY`, or `Neon-Connection-String: postgresql://TENANT:KEY@HOST/DB`."

    def __init__(self) -> None:
        super().__init__("the request carries no key and no token")


class KeySetUnavailable(TiergateError):
    """An issuer's public keys cannot be had, so its tokens cannot be checked."""

    code = "key-set-unavailable"
    retryable = True
    advice = "Try again shortly; the operator finds the cause in the log."

    def __init__(self, issuer: str, reason: str) -> None:
        """*issuer* and *reason* are for the log: they may name hosts and files."""
        super().__init__("the keys that tokens are checked with cannot be had at the moment")
        self.issuer = issuer
        self.reason = reason


class ScopeMissing(TiergateError):
    """The credential is good, but not for this."""

    code = "scope-missing"
    advice = "Use a key or a token with the scope."

    def __init__(self, scope: str) -> None:
        super().__init__(f"the credential lacks the scope {scope!r}")
        self.scope = scope


class TenantSuspended(TiergateError):
    """The operator has suspended the tenant; its rows are kept."""

    code = "tenant-suspended"
    advice = "The operator can resume it: `tiergate tenant resume`."

    def __init__(self, tenant: TenantId) -> None:
        super().__init__(f"tenant {tenant!r} is suspended")
        self.tenant = tenant


class TenantNotReady(TiergateError):
    """The tenant exists, and its place is still being made."""

    code = "tenant-not-ready"
    retryable = True
    advice = "Try again in a moment; if it lasts, the operator repeats `tiergate tenant create`."

    def __init__(self, tenant: TenantId) -> None:
        super().__init__(f"the place of tenant {tenant!r} is still being made")
        self.tenant = tenant


class RequestTooLarge(TiergateError):
    """The body is larger than the gateway takes."""

    code = "request-too-large"
    advice = "Split the work into several requests."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"request is too large (max is {limit_bytes} bytes)")
        self.limit_bytes = limit_bytes


class BodyTooSlow(TiergateError):
    """The body did not arrive in time."""

    code = "body-too-slow"
    retryable = True
    advice = "Send the body at once; the limit is body_timeout_s."

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request's body did not arrive within {limit_s:g} s")
        self.limit_s = limit_s


class ReaderTooSlow(TiergateError):
    """The caller did not take the next piece of a streamed answer in time, and was cut off."""

    code = "reader-too-slow"
    advice = "Read the answer as it comes, or ask for less at a time; the limit is stream_stall_s."

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the caller did not take the next piece of the answer within {limit_s:g} s")


class Overloaded(TiergateError):
    """The gateway has as many requests in hand as it may."""

    code = "overloaded"
    retryable = True
    advice = "Try again shortly; if it lasts, run more gateways or raise max_inflight."

    def __init__(self, inflight: int) -> None:
        super().__init__(f"the gateway has {inflight} requests in hand already")
        self.inflight = inflight


class ShareFull(TiergateError):
    """Some have so much in hand that others would find no room."""

    code = "share-full"
    retryable = True
    advice = (
        "Try again shortly; if it lasts, the operator looks for what is slow: the database, or the registry."
    )

    def __init__(self, whose: str, held: int) -> None:
        super().__init__(f"as many requests of {whose} are in hand as there is room for")
        self.reason = f"{held} requests of {whose}"


class RateLimited(TiergateError):
    """The tenant asks more often than it may."""

    code = "rate-limited"
    retryable = True
    advice = (
        "Wait as long as Retry-After says; the operator's limit is requests_per_s, of the tenant or its tier."
    )

    def __init__(self, tenant: TenantId, wait_s: float) -> None:
        super().__init__(f"tenant {tenant!r} asks too often; in {wait_s:.2f} s it may again")
        self.tenant = tenant
        self.wait_s = wait_s


class Draining(TiergateError):
    """The gateway is going away and takes no new requests."""

    code = "draining"
    retryable = True
    advice = "Try again; another gateway, or this one after its restart, will answer."

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down")


class NoSuchDoor(TiergateError):
    """There is nothing at this path, or not for this method."""

    code = "no-such-door"
    advice = "Queries go to `POST /sql`; operators' requests to the admin port."

    def __init__(self, method: str, path: str, status: int) -> None:
        super().__init__(f"{method} {path[:80]!r}: query is not supported")
        self.status = status
