"""How many requests a tenant may make in a second."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.placement import Placement
from router.errors import RateLimited
from tiergate.tenant import TenantId, Tier

_SWEPT_FROM = 1024


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second in the long run, and *burst* of them at once; None sets no limit."""

    requests_per_s: float | None
    burst: int


class Rates:
    """Each tenant's requests, held against its own rate or its tier's; in this process.

    One number for each tenant that has asked lately: the time at which its allowance will be whole
    again.

    Source:
        The generic cell rate algorithm in its virtual scheduling form: ITU-T I.371, annex A.
    """

    def __init__(self, rates: Mapping[Tier, Rate]) -> None:
        """What tenants have who have nothing of their own."""
        self.rates = rates
        self._whole_at: dict[TenantId, float] = {}
        self._sweep_beyond = _SWEPT_FROM

    def __len__(self) -> int:
        """Tenants that are remembered."""
        return len(self._whole_at)

    def take(self, placement: Placement, now_s: float) -> None:
        """Count one request of *placement*'s tenant at *now_s*, on any steady clock.

        Raises:
            RateLimited: It comes too soon, and is not counted.
        """
        tenant, own, rate = placement.tenant, placement.limits, self.rates[placement.tier]
        per_s = rate.requests_per_s if own.requests_per_s is None else own.requests_per_s
        if per_s is None:
            return
        burst = rate.burst if own.burst is None else own.burst
        each_s = 1 / per_s
        # Never more than a burst ahead, but where the tenant or its tier had another rate until now.
        whole_at = min(max(self._whole_at.get(tenant, now_s), now_s), now_s + burst * each_s)
        too_soon_s = whole_at - now_s - (burst - 1) * each_s
        if too_soon_s > 0:
            self._whole_at[tenant] = whole_at
            raise RateLimited(tenant, too_soon_s)
        self._whole_at[tenant] = whole_at + each_s
        if len(self._whole_at) > self._sweep_beyond:
            self._sweep(now_s)

    def _sweep(self, now_s: float) -> None:
        """Forget those whose allowance is whole; so rarely that it costs next to nothing a request."""
        self._whole_at = {tenant: at for tenant, at in self._whole_at.items() if at > now_s}
        self._sweep_beyond = max(_SWEPT_FROM, 2 * len(self._whole_at))
