"""How much the logs of all processes of all gateways say: shown, and set for a while."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from admin.acting import Acting
from admin.answers import JsonAnswer
from admin.gate import actor_of, read_limited
from admin.shapes import Json, Shape, read_body
from registry.orders import Known
from tiergate.deadline import Deadline

_LONGEST_S = 86_400.0
_LONGEST_WAIT_S = 60.0
_LOOK_S = 0.05


class NewLevel(Shape):
    """`PUT /log-level`."""

    level: Literal["debug", "info", "warning", "error", "configured"]
    for_s: Annotated[float, Field(ge=1, le=_LONGEST_S, allow_inf_nan=False)] = 600.0
    wait_s: Annotated[float, Field(ge=0, le=_LONGEST_WAIT_S, allow_inf_nan=False)] = 10.0


class Levels(Acting):
    """Levels of logs."""

    async def show(self) -> Sequence[Known]:
        """Every process, with the level that it has."""
        return await self._store.processes(holdings=True)

    async def set(
        self, level: str, *, for_s: float, wait_s: float, actor: str
    ) -> tuple[int, Sequence[Known]]:
        """Have every process say so much for *for_s*, and wait until all have heard it, *wait_s* at most.

        Returns:
            The word's number, and what each process says.
        """
        async with self._witnessed(actor, "gateway.log-level", "gateway"):
            number = await self._store.tell_level(level, for_s=for_s, actor=actor)
        deadline = Deadline.after(wait_s)
        while True:
            known = await self.show()
            if all(has_heard(each, number) or each.is_silent for each in known) or not deadline.left_s():
                return number, known
            await asyncio.sleep(min(_LOOK_S, deadline.left_s()))


def has_heard(known: Known, number: int) -> bool:
    """Whether the process has said that it heard this word, or a later one."""
    return known.holdings.log is not None and known.holdings.log.heard >= number


class LevelRoutes:
    """Routes of the logs' level."""

    def __init__(self, levels: Callable[[], Levels]) -> None:
        self._levels = levels

    async def show(self, _request: Request) -> Response:
        """`GET /log-level`."""
        known = await self._levels().show()
        return JsonAnswer({"processes": [_process(each, 0) for each in known]})

    async def set(self, request: Request) -> Response:
        """`PUT /log-level`."""
        asked = read_body(NewLevel, await read_limited(request))
        number, known = await self._levels().set(
            asked.level, for_s=asked.for_s, wait_s=asked.wait_s, actor=actor_of(request)
        )
        done = all(has_heard(each, number) for each in known)
        return JsonAnswer({"done": done, "processes": [_process(each, number) for each in known]})


def _process(known: Known, number: int) -> Json:
    process, log = known.process, known.holdings.log
    deaf = "silent" if known.is_silent else "unanswered"
    return {
        "gateway": process.gateway,
        "pid": process.pid,
        "level": log.level if log is not None else None,
        "left_s": round(log.left_s, 1) if log is not None and log.left_s is not None else None,
        "silent_s": round(known.silent_s, 1),
        "state": "done" if has_heard(known, number) else deaf,
    }
