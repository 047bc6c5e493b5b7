"""The gateway's address: one hot route, and the little that stands beside it."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from router.asgi import Receive, Scope, Send
from router.errors import NoSuchDoor
from router.problems import problem
from router.sql import SqlDoor

_ALLOWED_HEADERS = ", ".join(
    (
        "Authorization",
        "Content-Type",
        "Neon-Connection-String",
        "Neon-Raw-Text-Output",
        "Neon-Array-Mode",
        "Neon-Pool-Opt-In",
        "Neon-Batch-Read-Only",
        "Neon-Batch-Isolation-Level",
        "Neon-Batch-Deferrable",
    )
)
_EXPOSED_HEADERS = "Neon-Request-Id, Server-Timing, Tiergate-Error, Tiergate-Request-Id, Tiergate-Route, Tiergate-Status"
_PREFLIGHT_S = 86400


def build_app(door: SqlDoor, *, cors_origin: str | None) -> ASGIApp:
    """The ASGI application; *cors_origin* None lets no browser's page from elsewhere in."""

    async def preflight(request: Request) -> Response:
        if cors_origin is None:
            return Response(status_code=204)
        return Response(
            headers={
                "access-control-allow-origin": cors_origin,
                "access-control-allow-methods": "POST, OPTIONS",
                "access-control-allow-headers": _ALLOWED_HEADERS,
                "access-control-expose-headers": _EXPOSED_HEADERS,
                "access-control-max-age": str(_PREFLIGHT_S),
            }
        )

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        refusal = problem(
            NoSuchDoor(request.method, request.url.path, status), neon="neon-connection-string" in request.headers
        )
        return Response(refusal.body, refusal.status, {k.decode(): v.decode() for k, v in refusal.headers})

    rest = Starlette(
        routes=[Route("/sql", preflight, methods=["OPTIONS"])],
        exception_handlers={404: refuse, 405: refuse},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Past Starlette's middleware: it is a quarter of what a warm request costs here.
        if scope["type"] == "http" and scope["path"] == "/sql" and scope["method"] == "POST":
            await door(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app
