"""`POST /read-across-all-tenants`: who may, what they must say, and the answer as it comes."""

from collections.abc import Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from admin.across import Across, Asked, Begun
from admin.errors import AcrossClosed, AcrossKeyNeeded, AcrossNotAdmitted
from admin.gate import Key, actor_of, bearer_of, read_limited
from admin.leaving import unless_gone
from admin.shapes import AcrossAll, read_body
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId

PATH = "/read-across-all-tenants"

_OK = 200


class AcrossDoor:
    """The route.

    Args:
        across: Asked for at each request.
        key: Of this door alone; None when there is no door. An admin key does not open it, but its holder is
            told so.
    """

    def __init__(self, across: Callable[[], Across], key: Key | None) -> None:
        self._across = across
        self._key = key

    async def read_across(self, request: Request) -> Response:
        """`POST /read-across-all-tenants`."""
        if self._key is None or not self._key.is_shown(request.headers):
            if bearer_of(request) is None:
                raise AcrossNotAdmitted
            refused: TiergateError = AcrossClosed() if self._key is None else AcrossKeyNeeded()
            await self._across().refuse(refused, actor=actor_of(request))
        said = read_body(AcrossAll, await read_limited(request))
        asked = Asked(
            said.query,
            said.reason,
            writes=said.write,
            tier=said.tier,
            cluster=said.cluster,
            tenants=tuple(TenantId(tenant) for tenant in said.tenants),
            max_rows=said.max_rows,
            timeout_s=said.timeout_s,
        )
        across = self._across()
        return _Lines(across, await across.begin(asked, actor=actor_of(request)))


class _Lines(Response):
    """JSON objects, a line each, as they come; what runs is cancelled when the caller hangs up."""

    media_type = "application/x-ndjson"

    def __init__(self, across: Across, begun: Begun) -> None:
        super().__init__(status_code=_OK, headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._across = across
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def tell(line: Mapping[str, object]) -> int:
            body = orjson.dumps(line) + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})
            return len(body)

        await unless_gone(Request(scope, receive), self._across.run(self._begun, tell))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
