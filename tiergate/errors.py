"""The base of every error a caller may meet."""

from typing import ClassVar


class TiergateError(Exception):
    """Something tiergate refuses or could not do.

    Attributes:
        code: Stable name of the kind of error, listed in docs/reference/errors.md.
        retryable: Whether the same request may succeed later, unchanged.
        advice: What the reader may do next, one sentence.
    """

    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = ""
