"""The routes of the admin API that show or steer the running gateway, and what they need of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from admin.answers import JsonAnswer
from admin.gate import actor_of, read_limited
from admin.leaving import unless_gone
from admin.operations import Operations
from admin.paths import tenant_of
from admin.shapes import Nothing, Statement, read_body
from admin.verifying import Verifier
from registry.errors import RegistryFailed, RegistryUnavailable, UnknownTenant
from registry.placement import PlaceId
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId

_GONE = 499
_NOT_READY = 503


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the admin port needs of the running gateway.

    Attributes:
        metrics: Body and content type of `/metrics`.
        readiness: Whether to send requests here, and what is known of each cluster, as JSON.
        pools: Its pools at this moment, as JSON or frozen values.
        reload: Reads the configuration anew: {"applied": […], "needs_restart": […]}; may raise a
            TiergateError.
        run: Runs the body of a `/sql` request as a tenant; status and body of the answer. It is
            cancelled when the operator goes away.
        verify: Verifies the installation.
        metrics_of: The same as `metrics`, of one tenant and its place; None if neither tells who it is.
    """

    metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    readiness: Callable[[], tuple[bool, Mapping[str, object]]]
    pools: Callable[[], object]
    reload: Callable[[], Mapping[str, Sequence[str]]]
    run: Callable[[TenantId, bytes], Awaitable[tuple[int, bytes]]]
    verify: Verifier
    metrics_of: Callable[[TenantId, PlaceId | None], Awaitable[tuple[bytes, str] | None]]


class State:
    """Routes that show or steer the running gateway."""

    def __init__(self, operations: Operations, gateway: Gateway) -> None:
        self._operations = operations
        self._gateway = gateway

    async def metrics(self, _request: Request) -> Response:
        """`GET /metrics`."""
        return _metrics(*await self._gateway.metrics())

    async def metrics_of(self, request: Request) -> Response:
        """`GET /metrics/tenants/{name}`."""
        tenant = tenant_of(request)
        missing: TiergateError = UnknownTenant(tenant)
        try:
            place = (await self._operations.tenant(tenant)).place
        except RegistryUnavailable as error:  # what is remembered is told all the same
            place, missing = None, error
        told = await self._gateway.metrics_of(tenant, place)
        if told is None:
            raise missing
        return _metrics(*told)

    async def live(self, _request: Request) -> Response:
        """`GET /livez`."""
        return JsonAnswer({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """`GET /readyz`."""
        is_ready, report = self._gateway.readiness()
        return JsonAnswer(report, 200 if is_ready else _NOT_READY)

    async def pools(self, _request: Request) -> Response:
        """`GET /pools`."""
        return JsonAnswer(self._gateway.pools())

    async def reload(self, request: Request) -> Response:
        """`POST /reload`."""
        read_body(Nothing, await read_limited(request))
        done = self._gateway.reload()
        with suppress(RegistryUnavailable, RegistryFailed):  # a registry that is down is a reason to reload
            await self._operations.note(actor_of(request), "gateway.reload", "gateway")
        return JsonAnswer({name: list(done.get(name, ())) for name in ("applied", "needs_restart")})

    async def sql(self, request: Request) -> Response:
        """`POST /tenants/{name}/sql`."""
        tenant = tenant_of(request)
        body = await read_limited(request)
        read_body(Statement, body)
        await self._operations.tenant(tenant)  # says so when there is none
        # Before it runs: nobody reads a tenant's rows here without leaving a trace.
        await self._operations.note(actor_of(request), "tenant.sql", tenant)
        done = await unless_gone(request, self._gateway.run(tenant, body))
        if done is None:
            return Response(status_code=_GONE)
        status, answer = done
        return Response(answer, status, {"cache-control": "no-store"}, "application/json")


def _metrics(body: bytes, content_type: str) -> Response:
    return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})
