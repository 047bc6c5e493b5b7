"""Errors that leave a group of tasks, as themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from tiergate.errors import TiergateError


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the first error of ours in a group as itself; for the outermost edge."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours = group.subgroup(TiergateError)
        if ours is None:
            raise
        raise _first(ours) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
