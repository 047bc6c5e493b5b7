"""The route of the admin API that verifies the installation."""

from collections.abc import Awaitable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from admin.gate import actor_of, read_limited
from admin.lines import LinesAnswer, Put
from admin.shapes import Json, Verify, read_body
from registry.placement import PlaceId
from tiergate.tenant import TenantId
from verify.finding import Checked
from verify.run import Tally, Tell
from verify.site import Asked


class Verifier(Protocol):
    """What the route needs of `verify.run.Verification`."""

    def __call__(self, asked: Asked, *, actor: str, tell: Tell) -> Awaitable[Tally]:
        """Verify."""


class Verifying:
    """`POST /verify`."""

    def __init__(self, verify: Verifier) -> None:
        self._verify = verify

    async def verify(self, request: Request) -> Response:
        """`POST /verify`."""
        said = read_body(Verify, await read_limited(request))
        asked = Asked(
            None if said.tenant is None else TenantId(said.tenant),
            None if said.place is None else PlaceId(said.place),
            said.cluster,
            said.tries,
        )
        actor = actor_of(request)

        async def work(put: Put) -> None:
            tally = await self._verify(asked, actor=actor, tell=lambda checked: put(checked_json(checked)))
            put(_ended(tally))

        return LinesAnswer(work)


def checked_json(checked: Checked) -> Json:
    """One check: what it looked at, and what it found."""
    where = checked.where
    return {
        "event": "check",
        "code": checked.code,
        "name": checked.name,
        "cluster": where.cluster,
        "tier": where.tier,
        "database": where.database,
        "place": where.place,
        "outcome": checked.weight if checked.findings else "ok",
        "findings": [{"what": finding.what, "detail": finding.detail} for finding in checked.findings],
        "advice": checked.advice if checked.findings else None,
    }


def _ended(tally: Tally) -> Json:
    return {
        "event": "ended",
        "outcome": "failed" if tally.failed else "ok",
        "checks": tally.checks,
        "failed": tally.failed,
        "warnings": tally.warnings,
        "took_s": round(tally.took_s, 3),
    }
