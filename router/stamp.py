"""What every answer carries that the `/sql` door has not made: a request id, and how long it took."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.course import new_id

_NAME = b"tiergate-request-id"
_TIMES = b"server-timing"


class Stamp:
    """Puts both on each answer of *app*, whatever makes it; what is there already stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name for name, _ in headers}
                if _NAME not in names:
                    headers.append((_NAME, new_id().encode()))
                if _TIMES not in names:
                    headers.append((_TIMES, b"total;dur=%.2f" % ((time.monotonic() - began) * 1e3)))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, stamped)
