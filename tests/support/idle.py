"""A gateway that carries no moves, so that a test's own workers have them all.

`python -m tests.support.idle serve …` takes the arguments of `tiergate`.
"""

import asyncio

from moves.worker import Worker
from tiergate.cli import main

__all__ = ["main"]


async def _run(self: Worker) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


Worker.run = _run  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
