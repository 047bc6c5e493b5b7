"""The admin port: a JSON API for operators, and metrics and health for machines.

Long work is done inside the request, within a deadline, and may be asked for again.
"""

import asyncio
from collections.abc import Mapping
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from admin.across_door import PATH, AcrossDoor
from admin.acts import Acts
from admin.admin_keys import AdminKeyRoutes
from admin.advising import AdviceRoutes
from admin.answers import JsonAnswer
from admin.busiest import BusiestRoutes
from admin.contract import Act, Entry, guarded
from admin.errors import RoleMissing
from admin.gate import Check, Key, KeyGate, actor_of
from admin.levels import LevelRoutes
from admin.moving import MoveRoutes
from admin.openapi import document
from admin.operations import Operations
from admin.ordering import OrderRoutes
from admin.problems import on_no_route, on_refusal, on_surprise
from admin.state import Gateway, State
from admin.table import Doors, table
from admin.told_state import DocumentTold
from admin.usage import UsageRoutes
from admin.verifying import Verifying
from registry.admin_keys import AdminKey
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.tenant import tenant_id

__all__ = ["Gateway", "build_admin"]

_SHORTEST_KEY = 16


async def nobody_else(_text: str, _deadline: Deadline) -> AdminKey | None:
    """No key is valid but that of the settings."""
    return None


def build_admin(
    operations: Operations,
    gateway: Gateway,
    *,
    key: str,
    cross_tenant_key: str | None = None,
    check: Check = nobody_else,
) -> Starlette:
    """The application on the admin port; without a *cross_tenant_key* nobody asks across tenants.

    Args:
        key: Of an owner, whatever the registry says.
        check: Of other admin keys.

    Raises:
        ValueError: The key is so short that it could be guessed.
    """
    if len(key) < _SHORTEST_KEY:
        msg = f"an admin key has at least {_SHORTEST_KEY} characters"
        raise ValueError(msg)
    shown = Key(key)
    apart = Key(cross_tenant_key) if cross_tenant_key is not None else None
    acts = described(
        table(
            Doors(
                Acts(operations),
                State(operations, gateway),
                OrderRoutes(lambda: operations.ordering),
                LevelRoutes(lambda: operations.levels),
                MoveRoutes(lambda: operations.moving),
                AdviceRoutes(operations),
                BusiestRoutes(operations),
                UsageRoutes(lambda: operations),
                Verifying(gateway.verify),
                AcrossDoor(lambda: operations.across, apart),
                AdminKeyRoutes(lambda: operations),
            )
        )
    )

    async def note(request: Request, act: Act, error: RoleMissing) -> None:
        name = request.path_params.get("name", "") if act.path.startswith("/tenants/") else ""
        await operations.note_refused(actor_of(request), act.name, error, tenant_id(name))

    admin = Starlette(
        routes=[Route(act.path, guarded(act, note), methods=[act.method]) for act in acts],
        middleware=[Middleware(KeyGate, key=shown, check=check, apart=PATH)],
        exception_handlers={TiergateError: on_refusal, HTTPException: on_no_route, Exception: on_surprise},
    )
    admin.router.redirect_slashes = False  # what is not in the document is not there
    admin.state.acts = acts
    return admin


def described(acts: tuple[Act, ...]) -> tuple[Act, ...]:
    """*acts*, and the route that tells of them all, itself too."""

    @cache  # made when it is first asked for, and beside the loop: it takes some 70 ms
    def told() -> Mapping[str, object]:
        return document(whole)

    async def describe(_request: Request) -> Response:
        return JsonAnswer(await asyncio.to_thread(told))

    whole = (*acts, Act("GET", "/openapi.json", Entry.OPEN, describe, "This document.", DocumentTold))
    return whole
