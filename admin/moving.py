"""The routes of the admin API for moves."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from admin.acts import WORK_S
from admin.answers import JsonAnswer
from admin.errors import NotProven
from admin.gate import actor_of, read_limited
from admin.moves import Moving
from admin.paths import tenant_of
from admin.shapes import MOST_ROWS, Json, Label, Nothing, Shape, read_body, read_query, to_come
from moves.finding import Finding
from moves.preflight import Preflight
from registry.errors import UnknownMove
from registry.moves import Move, MoveId, MoveState, MoveStep, Spot, Timing, Wanted
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier

_NUMBER = re.compile(r"[a-z0-9-]{1,64}")
_LONGEST_SOAK_S = 30 * 86_400.0
_CREATED = 201


class NewMove(Shape):
    """`POST /tenants/{name}/moves`."""

    to: Tier
    cluster: Label | None = None
    at: Annotated[AwareDatetime, AfterValidator(to_come)] | None = None
    hold: bool = False
    soak_s: Annotated[float, Field(ge=0, le=_LONGEST_SOAK_S, allow_inf_nan=False)] = 3600.0
    dry_run: bool = False

    @model_validator(mode="after")
    def _one(self) -> "NewMove":
        if self.hold and self.at is not None:
            msg = "give at or hold, not both"
            raise ValueError(msg)
        return self

    @property
    def timing(self) -> Timing:
        """When it may go on by itself."""
        return Timing(self.hold, self.at, self.soak_s)


class MovesPage(Shape):
    """The query of `GET /moves`."""

    tenant: Label | None = None
    open: Annotated[bool, Field(strict=False)] = False
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 100


class MoveRoutes:
    """Routes of moves."""

    def __init__(self, moving: Callable[[], Moving]) -> None:
        self._moving = moving

    async def plan(self, request: Request) -> Response:
        """`POST /tenants/{name}/moves`."""
        tenant = tenant_of(request)
        asked = read_body(NewMove, await read_limited(request))
        deadline = Deadline.after(WORK_S)
        if asked.dry_run:
            found = await self._moving().foresee(tenant, asked.to, cluster=asked.cluster, deadline=deadline)
            ends = {"from": found.source, "to": found.target, "tier": asked.to}
            return JsonAnswer({"dry_run": True, "tenant": tenant, **ends, **_seen(found.seen)})
        planned = await self._moving().plan(
            tenant, asked.to, cluster=asked.cluster, timing=asked.timing,
            actor=actor_of(request), deadline=deadline,
        )  # fmt: skip
        return JsonAnswer({**move_json(planned.move), "preflight": _seen(planned.seen)}, _CREATED)

    async def list_moves(self, request: Request) -> Response:
        """`GET /moves`."""
        page = read_query(MovesPage, request.query_params)
        tenant = None if page.tenant is None else TenantId(page.tenant)
        found = await self._moving().moves(tenant=tenant, open_only=page.open, limit=page.limit)
        return JsonAnswer({"moves": [move_json(move) for move in found]})

    async def show(self, request: Request) -> Response:
        """`GET /moves/{id}`."""
        move, steps = await self._moving().move(_number(request))
        return JsonAnswer({**move_json(move), "steps": [_step(step) for step in steps]})

    async def ask(self, request: Request) -> Response:
        """`POST /moves/{id}/…`: the last part of the path says what."""
        read_body(Nothing, await read_limited(request))
        match request.url.path.rpartition("/")[2]:
            case "pause":
                move = await self._moving().ask(_number(request), "pause", actor=actor_of(request))
            case "resume":
                move = await self._moving().ask(_number(request), "resume", actor=actor_of(request))
            case wanted:
                move = await self._moving().ask(_number(request), Wanted(wanted), actor=actor_of(request))
        return JsonAnswer(move_json(move))

    async def evidence(self, request: Request) -> Response:
        """`GET /moves/{id}/evidence`."""
        number = _number(request)
        proof = await self._moving().proof(number)
        if proof is None:
            raise NotProven(number)
        return JsonAnswer({"move": number, **proof.signed, "is_authentic": proof.is_authentic})


def _number(request: Request) -> MoveId:
    number = request.path_params["id"]
    if _NUMBER.fullmatch(number) is None:
        raise UnknownMove(number)
    return MoveId(number)


def move_json(move: Move) -> Json:
    """A move, how far it is, and who has it."""
    return {
        "id": move.id,
        "tenant": move.tenant,
        "state": move.state,
        "is_over": move.state.is_over,
        "is_paused": move.is_paused,
        "wanted": move.wanted,
        "from": _spot(move.source),
        "to": _spot(move.target),
        "epoch": move.epoch,
        "target_epoch": move.target_epoch,
        "hold": move.timing.holds,
        "at": move.timing.cut_at,
        "soak_s": move.timing.soak_s,
        "actor": move.actor,
        "worker": move.worker if move.leased_s > 0 else None,
        "progress": move.progress,
        "error": move.error,
        "created_at": move.created_at,
        "changed_at": move.changed_at,
        "cut_over_at": move.cut_over_at,
        "soaks_until": _soaks_until(move),
        "ended_at": move.ended_at,
        "has_evidence": move.evidence is not None,
    }


def _soaks_until(move: Move) -> datetime | None:
    if move.state is not MoveState.SOAKING or move.cut_over_at is None:
        return None
    return datetime.fromtimestamp(move.cut_over_at.timestamp() + move.timing.soak_s, move.cut_over_at.tzinfo)


def _spot(spot: Spot) -> Json:
    return {"cluster": spot.cluster, "tier": spot.tier, "place": spot.place}


def _step(step: MoveStep) -> Json:
    return {"at": step.at, "state": step.state, "detail": step.detail}


def _seen(seen: Preflight) -> Json:
    return {
        "refused": seen.is_refused,
        "findings": [_finding(each) for each in seen.findings],
        "rows": seen.rows,
        "size_bytes": seen.size_bytes,
        "tables": [
            {"table": each.table, "rows": each.rows, "size_bytes": each.size_bytes} for each in seen.tables
        ],
        "duration_s": seen.duration_s,
        "pause_ms": seen.pause_ms,
    }


def _finding(finding: Finding) -> Json:
    return {
        "code": finding.code,
        "forbids": finding.forbids,
        "what": finding.what,
        "where": finding.where,
        "cure": finding.cure,
    }
