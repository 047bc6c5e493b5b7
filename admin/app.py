"""The admin port: a JSON API for operators, and metrics and health for machines.

Long work is done inside the request, within a deadline, and may be asked for again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from admin.across_door import PATH, AcrossDoor
from admin.acts import Acts, tenant_of
from admin.advising import AdviceRoutes
from admin.answers import JsonAnswer
from admin.busiest import BusiestRoutes
from admin.gate import Key, KeyGate, actor_of, read_limited
from admin.leaving import unless_gone
from admin.moving import MoveRoutes
from admin.operations import Operations
from admin.ordering import OrderRoutes
from admin.problems import on_no_route, on_refusal, on_surprise
from admin.shapes import Nothing, Statement, read_body
from admin.verifying import Verifier, Verifying
from registry.errors import RegistryFailed, RegistryUnavailable
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId

T = TypeVar("T")

_SHORTEST_KEY = 16
_GONE = 499
_NOT_READY = 503
_ASKED = ("pause", "resume", "cutover", "abort", "rollback", "cleanup", "give-up")


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
    """

    metrics: Callable[[], tuple[bytes, str]]
    readiness: Callable[[], tuple[bool, Mapping[str, object]]]
    pools: Callable[[], object]
    reload: Callable[[], Mapping[str, Sequence[str]]]
    run: Callable[[TenantId, bytes], Awaitable[tuple[int, bytes]]]
    verify: Verifier


def build_admin(
    operations: Operations, gateway: Gateway, *, key: str, cross_tenant_key: str | None = None
) -> Starlette:
    """The application on the admin port; without a *cross_tenant_key* nobody asks across tenants.

    Raises:
        ValueError: The key is so short that it could be guessed.
    """
    if len(key) < _SHORTEST_KEY:
        msg = f"an admin key has at least {_SHORTEST_KEY} characters"
        raise ValueError(msg)
    acts, state = Acts(operations), _State(operations, gateway)
    orders, moves = OrderRoutes(lambda: operations.ordering), MoveRoutes(lambda: operations.moving)
    advice = AdviceRoutes(operations)
    shown = Key(key)
    apart = Key(cross_tenant_key) if cross_tenant_key is not None else None
    door = AcrossDoor(lambda: operations.across, apart, shown)
    return Starlette(
        routes=[
            Route("/metrics", state.metrics),
            Route("/livez", state.live),
            Route("/readyz", state.ready),
            Route("/pools", state.pools),
            Route("/advice", advice.advise),
            Route("/busiest", BusiestRoutes(operations).busiest),
            Route("/gateways", orders.list_gateways),
            Route("/orders", orders.list_standing),
            Route("/orders", orders.give, methods=["POST"]),
            Route("/reload", state.reload, methods=["POST"]),
            Route("/audit", acts.audit),
            Route("/audit/verify", acts.verify_audit),
            Route("/verify", Verifying(gateway.verify).verify, methods=["POST"]),
            Route("/clusters", acts.list_clusters),
            Route("/clusters", acts.add_cluster, methods=["POST"]),
            Route("/clusters/{name}", acts.show_cluster),
            Route("/clusters/{name}", acts.remove_cluster, methods=["DELETE"]),
            Route("/clusters/{name}/address", acts.set_address, methods=["PUT"]),
            Route("/clusters/{name}/pgbouncer", acts.set_pgbouncer, methods=["PUT"]),
            Route("/clusters/{name}/pgbouncer", acts.unset_pgbouncer, methods=["DELETE"]),
            Route("/clusters/{name}/replicas/{replica}", acts.add_replica, methods=["PUT"]),
            Route("/clusters/{name}/replicas/{replica}", acts.remove_replica, methods=["DELETE"]),
            Route("/context-keys", acts.list_context_keys),
            Route("/context-keys/rotate", acts.rotate_context_key, methods=["POST"]),
            Route("/context-keys/retire", acts.retire_context_key, methods=["POST"]),
            Route("/tenants", acts.list_tenants),
            Route("/tenants", acts.create_tenant, methods=["POST"]),
            Route("/tenants/{name}", acts.show_tenant),
            Route("/tenants/{name}", acts.set_own, methods=["PATCH"]),
            Route("/tenants/{name}", acts.delete_tenant, methods=["DELETE"]),
            Route("/tenants/{name}/suspend", acts.suspend, methods=["POST"]),
            Route("/tenants/{name}/resume", acts.resume, methods=["POST"]),
            Route("/tenants/{name}/keys", acts.list_keys),
            Route("/tenants/{name}/keys", acts.create_key, methods=["POST"]),
            Route("/tenants/{name}/sql", state.sql, methods=["POST"]),
            Route("/keys/{id}", acts.revoke_key, methods=["DELETE"]),
            Route("/tenants/{name}/moves", moves.plan, methods=["POST"]),
            Route("/moves", moves.list_moves),
            Route("/moves/{id}", moves.show),
            Route("/moves/{id}/evidence", moves.evidence),
            *(Route(f"/moves/{{id}}/{wanted}", moves.ask, methods=["POST"]) for wanted in _ASKED),
            Route(PATH, door.read_across, methods=["POST"]),
        ],
        middleware=[Middleware(KeyGate, key=shown, apart=PATH)],
        exception_handlers={TiergateError: on_refusal, HTTPException: on_no_route, Exception: on_surprise},
    )


class _State:
    """Routes that show or steer the running gateway."""

    def __init__(self, operations: Operations, gateway: Gateway) -> None:
        self._operations = operations
        self._gateway = gateway

    async def metrics(self, _request: Request) -> Response:
        body, content_type = self._gateway.metrics()
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def live(self, _request: Request) -> Response:
        return JsonAnswer({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        is_ready, report = self._gateway.readiness()
        return JsonAnswer(report, 200 if is_ready else _NOT_READY)

    async def pools(self, _request: Request) -> Response:
        return JsonAnswer(self._gateway.pools())

    async def reload(self, request: Request) -> Response:
        read_body(Nothing, await read_limited(request))
        done = self._gateway.reload()
        with suppress(RegistryUnavailable, RegistryFailed):  # a registry that is down is a reason to reload
            await self._operations.note(actor_of(request), "gateway.reload", "gateway")
        return JsonAnswer({name: list(done.get(name, ())) for name in ("applied", "needs_restart")})

    async def sql(self, request: Request) -> Response:
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
