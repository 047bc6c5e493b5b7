"""`tiergate` with queues by arrival, for contrast: who asks first is served first, whoever they are.

Takes the arguments of `tiergate`; only ever run by a bench. The settings must let one tenant have as
many connections, and wait as often, as all.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from pools.queue import Queue
from router.turns import Turns
from tiergate.cli import main
from tiergate.tenant import TenantId

_EVERYBODY = TenantId("everybody")


def take_all_for_one(kind: type) -> None:
    """From here on every method of *kind* that is told of a tenant takes all of them for the same."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        names = list(inspect.signature(method).parameters)
        if "tenant" in names:
            setattr(kind, name, _of_everybody(method, names.index("tenant")))


def _of_everybody(method: Callable[..., Any], at: int) -> Callable[..., Any]:  # Any: whatever it takes
    @wraps(method)
    def of_everybody(*given: Any, **named: Any) -> Any:  # Any: as above
        return method(*given[:at], _EVERYBODY, *given[at + 1 :], **named)

    return of_everybody


take_all_for_one(Queue)
take_all_for_one(Turns)

if __name__ == "__main__":
    main()
