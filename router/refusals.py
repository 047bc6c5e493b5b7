"""What a refusal at the door tells besides that the request was refused."""

from collections.abc import Iterator

from guard.errors import StatementNotPassed
from pools.errors import ContextRefused, StatementFailed
from registry.placement import Placement
from router.errors import RateLimited, ShareFull
from tiergate.events import Event
from tiergate.happenings.refusals import CheckoutRefused, IsolationViolated, StatementBarred

_FORGED = "TG002"


def told_of(error: Exception, placement: Placement, *, is_free: bool) -> Iterator[Event]:
    """What is to be told of *error*, for which a request of *placement*'s tenant was refused.

    Args:
        is_free: The tenant may run all of SQL, and so make its own transaction's context void.
    """
    tier, cluster = placement.tier, placement.place.cluster
    match error:
        case ShareFull() | RateLimited():
            yield CheckoutRefused(tier, cluster, error.code)
        case StatementNotPassed():
            yield StatementBarred(tier, error.rule)
        case ContextRefused() if error.doubt != "clock":
            yield IsolationViolated(placement.tenant, tier, cluster, "context", error.reason)
        case StatementFailed() if error.error.code == _FORGED and not is_free:
            yield IsolationViolated(placement.tenant, tier, cluster, "forged", error.error.message)
        case _:
            pass
