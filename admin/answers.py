"""Answers in JSON: times in RFC 3339, frozen values as objects."""

import orjson
from starlette.responses import Response


class JsonAnswer(Response):
    """A JSON answer that nobody may keep."""

    media_type = "application/json"

    def __init__(
        self, content: object, status_code: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, {"cache-control": "no-store", **(headers or {})})

    def render(self, content: object) -> bytes:
        """The body."""
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def _plain(value: object) -> object:
    if isinstance(value, frozenset | set | tuple):
        return list(value)
    msg = f"no JSON for {type(value).__name__}"
    raise TypeError(msg)
