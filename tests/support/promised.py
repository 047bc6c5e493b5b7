"""Every answer of the admin API that a test sees is held against what its route promises."""

from collections.abc import Awaitable, Callable, Sequence

import httpx
import orjson
from starlette.routing import compile_path

from admin.contract import Act, Entry
from admin.errors import NotAdmitted
from admin.problems import status_of
from admin.told import Refusal

_UNREAD = 499
_SURPRISE = 500


def as_promised(acts: Sequence[Act]) -> Callable[[httpx.Response], Awaitable[None]]:
    """A hook for a client: fails a test whose answer is not in the table."""
    routes = [(act, compile_path(act.path)[0]) for act in acts]

    async def look(response: httpx.Response) -> None:
        request = response.request
        for act, path in routes:
            if act.method == request.method and path.match(request.url.path):
                await response.aread()
                check(act, response)
                return

    return look


def check(act: Act, response: httpx.Response) -> None:
    """Fail unless *response* is one that *act* may give."""
    status, kind = response.status_code, response.headers.get("content-type", "")
    shape = {act.status: act.tells, **act.also}.get(status)
    if isinstance(shape, str):
        assert kind.startswith(shape), f"{act.name} answers {kind}"
    elif shape is not None:
        shape.model_validate_json(response.content)
    elif status != _UNREAD:
        _check_refusal(act, response)


def _check_refusal(act: Act, response: httpx.Response) -> None:
    if act.is_door and "error" not in orjson.loads(response.content):
        return
    code = Refusal.model_validate_json(response.content).error.code
    known = {(status_of(kind), kind.code) for kind in act.errors} | {(_SURPRISE, "internal")}
    if act.needs is not Entry.OPEN:
        known.add((status_of(NotAdmitted), NotAdmitted.code))
    assert (response.status_code, code) in known, f"{act.name} does not promise {code}"
