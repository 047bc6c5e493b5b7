"""The only table from errors to HTTP on the admin port. Operators see every error's own words."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from admin.answers import JsonAnswer
from admin.errors import (
    AcrossClosed,
    AcrossKeyNeeded,
    AcrossNotAdmitted,
    AdminKeyTaken,
    BodyInvalid,
    BodyTooLarge,
    BodyTooSlow,
    KeyInUse,
    NoSuchRoute,
    NotAdmitted,
    NotProven,
    RoleMissing,
    ScopeShared,
    WrongMethod,
)
from config.errors import SettingsInvalid
from fleet import errors as fleet
from moves.errors import MoveRefused
from pools import errors as pools
from registry import errors as registry
from tiergate.errors import TiergateError
from verify.errors import VerifyRunning

_STATUS: dict[type[TiergateError], int] = {
    NotAdmitted: 401,
    AcrossNotAdmitted: 401,
    AcrossClosed: 404,
    RoleMissing: 403,
    AdminKeyTaken: 409,
    AcrossKeyNeeded: 403,
    NoSuchRoute: 404,
    WrongMethod: 405,
    NotProven: 404,
    BodyTooSlow: 408,
    BodyTooLarge: 413,
    BodyInvalid: 422,
    KeyInUse: 409,
    ScopeShared: 409,
    SettingsInvalid: 409,
    pools.StatementRefused: 422,
    pools.StatementCostly: 422,
    pools.StatementTooLong: 422,
    registry.BadCluster: 422,
    registry.UnknownTenant: 404,
    registry.UnknownCluster: 404,
    registry.UnknownReplica: 404,
    registry.UnknownPlace: 404,
    registry.UnknownDatabase: 404,
    registry.UnknownCredential: 404,
    registry.UnknownMove: 404,
    registry.MoveOpen: 409,
    registry.SamePlace: 409,
    MoveRefused: 409,
    registry.TenantExists: 409,
    registry.ClusterExists: 409,
    registry.WrongState: 409,
    registry.TenantServed: 409,
    registry.ClusterInUse: 409,
    registry.UnknownMove: 404,
    registry.MoveOpen: 409,
    registry.MoveLost: 409,
    registry.SamePlace: 409,
    registry.NoCluster: 409,
    registry.WrongTier: 409,
    registry.ResidencyViolated: 409,
    registry.RegistryUnavailable: 503,
    fleet.ClusterUnreachable: 503,
    fleet.ProvisioningTimeout: 504,
    fleet.ProvisioningFailed: 502,
    fleet.NotSuperuser: 409,
    fleet.ClusterUnfit: 409,
    fleet.ClusterTaken: 409,
    fleet.WrongServer: 409,
    fleet.ContextKeyConflict: 409,
    fleet.PlaceTaken: 409,
    fleet.PoolerUnfit: 409,
    fleet.ReplicaUnfit: 409,
    fleet.ApplicationInvalid: 409,
    fleet.ApplicationChanged: 409,
    fleet.FenceConflict: 409,
    VerifyRunning: 409,
}
_OURS = 500
_RETRY_LATER = 503


def status_of(kind: type[TiergateError]) -> int:
    """The status of errors of that kind."""
    return _STATUS.get(kind, _OURS)


def explained(error: TiergateError) -> dict[str, object]:
    """*error* in JSON."""
    return {
        "code": error.code,
        "message": str(error),
        "advice": error.advice,
        "retryable": error.retryable,
    }


def refusal(error: TiergateError) -> Response:
    """The answer that tells of *error*."""
    status = status_of(type(error))
    said = explained(error)
    match error:
        case BodyInvalid():
            said["mistakes"] = list(error.mistakes)
        case MoveRefused():
            said["mistakes"] = list(error.reasons)
            said["message"] = f"tenant {error.tenant!r} cannot be moved"
        case SettingsInvalid():
            said["mistakes"] = [str(mistake) for mistake in error.mistakes]
            said["message"] = str(error).partition("\n")[0]
        case _:
            pass
    headers = {}
    if isinstance(error, WrongMethod):
        headers["allow"] = ", ".join(error.allowed)
    if isinstance(error, NotAdmitted):
        headers["www-authenticate"] = 'Bearer realm="tiergate admin"'
    if status == _RETRY_LATER:
        headers["retry-after"] = "1"
    return JsonAnswer({"error": said}, status_code=status, headers=headers)


async def on_refusal(_request: Request, error: Exception) -> Response:
    """Starlette's way in for our own errors."""
    if not isinstance(error, TiergateError):
        raise error
    return refusal(error)


async def on_no_route(request: Request, _error: Exception) -> Response:
    """Starlette's way in for paths and methods that do not exist."""
    at_path = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    if not at_path:
        return refusal(NoSuchRoute(request.method, request.url.path))
    allowed = sorted({method for route in at_path for method in route.methods})
    return refusal(WrongMethod(request.method, request.url.path, allowed))


async def on_surprise(_request: Request, _error: Exception) -> Response:
    """Starlette's way in for what nobody foresaw; it goes on to the log, and nothing of it outside."""
    said = {
        "code": "internal",
        "message": "an error inside the gateway",
        "advice": "The log says more.",
        "retryable": False,
    }
    return JsonAnswer({"error": said}, status_code=_OURS)
