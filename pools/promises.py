"""Whether the connections that a cluster's pools are to keep fit into its budget.

What cannot be kept for all is kept for none: else the first pools would hold what later ones need even for a
single request. One connection at least stays for those who are promised none.
"""

from collections.abc import Iterable


class Promises:
    """The minima of one cluster's pools, added up.

    Attributes:
        limit: The cluster's budget.
        warm: Of the pools that are kept warm.
        all: Of all pools.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.warm = self.all = 0

    def make(self, limit: int, wishes: Iterable[tuple[int, bool]]) -> None:
        """Add up anew: each pool's minimum, and whether it is warm."""
        self.limit, self.all, self.warm = limit, 0, 0
        for minimum, is_warm in wishes:
            self.all += minimum
            self.warm += minimum if is_warm else 0

    def hold(self, *, is_warm: bool) -> bool:
        """Whether a pool's minimum is kept; those of warm pools also when those of the others are not."""
        return self.all < self.limit or (is_warm and self.warm < self.limit)
