"""One server, as this process knows it: what all its pools have in common, and what outlives each of them."""

from collections.abc import Callable

from pools.budget import Budget
from pools.clock import Clock, Ours
from tiergate.events import Emit


class Cluster:
    """What the pools of one server share.

    Attributes:
        budget: Permits for its connections.
        clock: What time it is there.
    """

    def __init__(
        self, name: str, max_db_connections: int, *, evict: Callable[[], None], ours: Ours, emit: Emit
    ) -> None:
        """*evict* starts closing the least useful resting connection, if there is one."""
        self.name = name
        self.budget = Budget(max_db_connections, evict=evict)
        self.clock = Clock(name, ours, emit)
