"""The gateway's address: one hot route, and the little that stands beside it."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from router.asgi import Receive, Scope, Send
from router.cors import of_answers, of_preflight
from router.course import new_id
from router.errors import NoSuchDoor
from router.problems import problem
from router.sql import SqlDoor
from router.stamp import Stamp


def build_app(door: SqlDoor, *, cors_origin: str | None) -> ASGIApp:
    """The ASGI application; *cors_origin* None lets no browser's page from elsewhere in."""
    frame, preflight_frame = of_answers(cors_origin), of_preflight(cors_origin)

    async def preflight(_request: Request) -> Response:
        answer = Response(status_code=200 if preflight_frame else 204)
        answer.raw_headers += preflight_frame
        return answer

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        is_neon = "neon-connection-string" in request.headers
        refusal = problem(NoSuchDoor(request.method, request.url.path, status), neon=is_neon)
        request_id = new_id().encode()
        answer = Response(refusal.body, refusal.status)
        answer.raw_headers += [
            *refusal.headers,
            (b"neon-request-id", request_id),
            (b"tiergate-request-id", request_id),
            *frame,
        ]
        return answer

    rest = Starlette(
        routes=[Route("/sql", preflight, methods=["OPTIONS"])],
        exception_handlers={404: refuse, 405: refuse},
    )
    # It would repeat the caller's Host header, and no client's body follows a redirect.
    rest.router.redirect_slashes = False
    beside = Stamp(rest)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Past Starlette's middleware: it is a quarter of what a warm request costs here.
        if scope["type"] == "http" and scope["path"] == "/sql" and scope["method"] == "POST":
            await door(scope, receive, send)
        else:
            await beside(scope, receive, send)

    return app
