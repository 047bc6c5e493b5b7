"""The only table from errors to HTTP: status, SQLSTATE, headers and the body of a refusal.

What a caller reads here names nothing that is not the caller's own: messages meant
for operators, host names and traces stay in the log.
"""

import math
import re
from dataclasses import dataclass
from http import HTTPStatus

import orjson

import guard.errors as guard
import pools.errors as pools
import registry.errors as registry
import router.errors as edge
from pools.errors import PgError
from tiergate.errors import TiergateError


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, ready to be sent.

    Attributes:
        status: What the status line says.
        honest_status: What it would say to a client that reads the body at any status; metrics count this.
        outcome: The error's stable code.
        headers: Complete but for content-length; names in lower case.
    """

    status: int
    honest_status: int
    outcome: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of error reads from outside.

    Attributes:
        says: In place of the error's own sentence and advice, which are for operators.
    """

    status: int
    sqlstate: str
    says: str | None = None


_OURS = "an error inside the gateway; its operator finds it in the log under the request id"
_REGISTRY = "the gateway cannot look up where the tenant lives at the moment"

RULES: dict[type[TiergateError], Rule] = {
    edge.BadRequest: Rule(400, "08P01"),
    edge.TooManyStatements: Rule(400, "54000"),
    edge.TooManyParameters: Rule(400, "54023"),
    edge.NestedTooDeep: Rule(400, "54001"),
    edge.TextNotStorable: Rule(400, "22021"),
    edge.EmptyStatement: Rule(400, "42601"),
    edge.HeadTooLarge: Rule(431, "54000"),
    edge.HeadTooSlow: Rule(408, "57014"),
    edge.Unidentified: Rule(401, "28P01"),
    edge.NoCredential: Rule(401, "28000"),
    edge.KeySetUnavailable: Rule(503, "57P03"),
    edge.ScopeMissing: Rule(403, "42501"),
    edge.TenantSuspended: Rule(403, "28000"),
    edge.TenantNotReady: Rule(503, "57P03"),
    edge.NoSuchDoor: Rule(404, "0A000"),
    edge.RequestTooLarge: Rule(413, "54000"),
    edge.BodyTooSlow: Rule(408, "57014"),
    edge.ReaderTooSlow: Rule(408, "57014"),
    edge.Overloaded: Rule(503, "53300"),
    edge.ShareFull: Rule(503, "53300"),
    edge.RateLimited: Rule(429, "53400"),
    edge.Draining: Rule(503, "57P01"),
    guard.StatementForbidden: Rule(403, "42501"),
    guard.StatementUnreadable: Rule(400, "42601"),
    guard.StatementTooComplex: Rule(400, "54001"),
    guard.StatementNotPassed: Rule(400, "0A000"),
    pools.StatementRefused: Rule(400, "0A000"),
    pools.StatementCostly: Rule(400, "54001"),
    pools.StatementTooLong: Rule(400, "54000"),
    pools.PoolExhausted: Rule(503, "53300"),
    pools.PoolsExhausted: Rule(503, "53300"),
    pools.QueueFull: Rule(503, "53300"),
    pools.Paused: Rule(503, "53300"),
    pools.Drained: Rule(503, "57P03"),
    pools.Killed: Rule(503, "57P01"),
    pools.DatabaseUnavailable: Rule(503, "08006"),
    pools.PlaceUnprotected: Rule(503, "57P03", says=_OURS),
    pools.ConnectionLost: Rule(503, "08006"),
    pools.StaleRoute: Rule(503, "57P03"),
    pools.HeldUp: Rule(503, "57P03"),
    pools.ContextRefused: Rule(500, "XX000", says=_OURS),
    pools.DeadlineExceeded: Rule(504, "57014"),
    pools.ResponseTooLarge: Rule(507, "54000"),
    registry.RegistryUnavailable: Rule(503, "57P03", says=_REGISTRY),
    registry.RegistryFailed: Rule(500, "XX000", says=_OURS),
    registry.RegistryTooNew: Rule(500, "XX000", says=_OURS),
    registry.SecretUnreadable: Rule(500, "XX000", says=_OURS),
    registry.UnknownTenant: Rule(401, "28P01"),
    registry.UnknownKey: Rule(401, "28P01"),
    registry.UnknownCluster: Rule(404, "42704"),
    registry.UnknownReplica: Rule(404, "42704"),
    registry.UnknownPlace: Rule(404, "42704"),
    registry.UnknownDatabase: Rule(404, "42704"),
    registry.UnknownCredential: Rule(404, "42704"),
    registry.TenantExists: Rule(409, "42710"),
    registry.ClusterExists: Rule(409, "42710"),
    registry.BadCluster: Rule(400, "22023"),
    registry.WrongState: Rule(409, "55000"),
    registry.TenantServed: Rule(409, "55000"),
    registry.ClusterInUse: Rule(409, "55006"),
    registry.UnknownMove: Rule(404, "42704"),
    registry.MoveOpen: Rule(409, "55006"),
    registry.MoveLost: Rule(409, "55006"),
    registry.SamePlace: Rule(409, "55006"),
    registry.NoCluster: Rule(409, "55000"),
    registry.WrongTier: Rule(409, "55000"),
    registry.ResidencyViolated: Rule(409, "55000"),
}
_UNEXPECTED = Rule(500, "XX000", says=_OURS)

# Whole codes first, then classes (the first two characters). 23514, 23502 and the like stay 400: the
# values are wrong, not in conflict with others.
_STATUS_OF_SQLSTATE = {
    "08P01": 400,  # the one way to it here: another number of parameters than the statement has
    "23503": 409, "23505": 409, "23P01": 409,
    "25006": 405,
    "40001": 409, "40P01": 409,
    "42501": 403, "42P01": 404, "42883": 404,
    "55P03": 409,
    "57014": 504, "57P01": 503, "57P02": 503, "57P03": 503,
}  # fmt: skip
_STATUS_OF_CLASS = {"08": 503, "28": 401, "53": 503, "XX": 500}
_REPEAT_AS_IT_IS = frozenset({"40001", "40P01"})

# PTxyz is a status that the statement's author chose, as PostgREST has it; one that is no error's would
# make a client take the refusal for an answer.
_CHOSEN = re.compile(r"PT([45][0-9][0-9])")


def sqlstate_status(sqlstate: str) -> int:
    """The honest status of an error that Postgres raised.

    Source:
        PostgreSQL 18, appendix A "PostgreSQL Error Codes".
    """
    if chosen := _CHOSEN.fullmatch(sqlstate):
        return int(chosen[1])
    return _STATUS_OF_SQLSTATE.get(sqlstate) or _STATUS_OF_CLASS.get(sqlstate[:2], 400)


def honest_status(error: BaseException) -> int:
    """The status that *error* deserves, for who reads the body at any status; 500 when it is unheard of."""
    match error:
        case pools.StatementFailed():
            return sqlstate_status(error.error.code)
        case edge.NoSuchDoor():
            return error.status
        case _:
            return _rule(error).status


def problem(error: BaseException, *, neon: bool) -> Problem:
    """How *error* is told to the caller.

    Args:
        neon: The request carries a Neon-Connection-String: its driver reads the body
            at status 400 only, and the honest status goes into a header.
    """
    error = _from_outside(error)
    status, said = honest_status(error), _said(error)
    outcome = error.code if isinstance(error, TiergateError) and _is_known(error) else "internal"
    headers = [
        (b"content-type", b"application/json"),
        (b"tiergate-status", b"%d" % status),
        (b"tiergate-error", outcome.encode()),
    ]
    if status in (429, 503) or said.code in _REPEAT_AS_IT_IS:
        wait_s = error.wait_s if isinstance(error, edge.RateLimited | pools.Drained) else 1
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
    if status == HTTPStatus.UNAUTHORIZED and not neon:
        headers.append((b"www-authenticate", b'Bearer realm="tiergate"'))
    if isinstance(error, edge.NoSuchDoor) and status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"POST, OPTIONS"))
    return Problem(400 if neon else status, status, outcome, tuple(headers), _body(said))


def _from_outside(error: BaseException) -> BaseException:
    """What *error* must look like to those who may not know what it is."""
    match error:
        case registry.UnknownTenant() | registry.UnknownKey():
            return edge.Unidentified(error.code)
        case pools.StaleRoute(fence_state="suspended"):
            return edge.TenantSuspended(error.tenant)
        case _:
            return error


def _rule(error: BaseException) -> Rule:
    """The rule of the error's class, or of the nearest class it is a kind of."""
    return next((RULES[kind] for kind in type(error).__mro__ if kind in RULES), _UNEXPECTED)


def _is_known(error: TiergateError) -> bool:
    return isinstance(error, pools.StatementFailed) or _rule(error) is not _UNEXPECTED


def _said(error: BaseException) -> PgError:
    if isinstance(error, pools.StatementFailed):
        return error.error
    rule = _rule(error)
    if rule.says is not None:
        return PgError(rule.says, rule.sqlstate, severity="ERROR")
    hint = error.advice if isinstance(error, TiergateError) else None
    position = str(error.position) if isinstance(error, guard.StatementNotPassed) else None
    return PgError(str(error), rule.sqlstate, severity="ERROR", hint=hint or None, position=position)


def _body(said: PgError) -> bytes:
    """The keys, always all of them, in the order in which Neon's proxy writes them."""
    return orjson.dumps(
        {
            "message": said.message,
            "code": said.code,
            "detail": said.detail,
            "hint": said.hint,
            "position": said.position,
            "internalPosition": said.internal_position,
            "internalQuery": said.internal_query,
            "severity": said.severity,
            "where": said.where,
            "table": said.table,
            "column": said.column,
            "schema": said.schema,
            "dataType": said.data_type,
            "constraint": said.constraint,
            "file": said.file,
            "line": said.line,
            "routine": said.routine,
        }
    )
