"""A gateway that hears no news, and carries no moves: it learns of changes by being refused alone.

`python -m tests.support.deaf serve …` takes the arguments of `tiergate`.
"""

from registry.feed import Feed
from tests.support.idle import main


def _hear(self: Feed, _link: object, _pid: int, _channel: str, payload: str) -> None:
    """Hear it, and take no notice."""
    self._heard += 1


Feed._hear = _hear  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
