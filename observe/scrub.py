"""Takes secrets out of texts that others wrote, before they are logged."""

import re
import traceback

_LONGEST = 2_000  # characters of one text
_MOST_FRAMES = 20
_HIDDEN = "…"

_SECRETS = (
    # user:password@ of any URL
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)\S*@"), rf"\1{_HIDDEN}@"),
    # password=… of a libpq conninfo or a query string, quoted or bare
    (
        re.compile(r"(?i)\b(pass(?:word|wd)?|secret|token)(\s*[=:]\s*)('(?:[^'\\]|\\.)*'|[^\s&,;]+)"),
        rf"\1\2{_HIDDEN}",
    ),
    # an API key keeps its id, which is no secret
    (re.compile(r"\b(tg_[A-Za-z0-9-]+_)[A-Za-z0-9_-]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]+"), rf"\1{_HIDDEN}"),
    # a JWT: three base64url parts, the first of which is a JSON object
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _HIDDEN),
)


def scrub(text: str) -> str:
    """*text* without what looks like a secret, cut to 2,000 characters."""
    # Cut first, so that a huge text costs little; some room, so that a secret is not cut in half.
    text = text[: 2 * _LONGEST]
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text[:_LONGEST]


def frames(error: BaseException) -> list[str]:
    """Where *error* was raised, innermost last, as `file:line function`.

    Never its message: a driver's message may quote SQL or a row's values.
    """
    stack = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in stack]
