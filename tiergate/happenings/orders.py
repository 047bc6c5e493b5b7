"""What happens to operators' orders."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatesSet:
    """What operators have paused or drained has changed, in this process.

    Attributes:
        paused, drained: How many tenants, pools and clusters are, now.
    """

    paused: int
    drained: int


@dataclass(frozen=True, slots=True)
class OrderDone:
    """This process has carried out an operator's order.

    Attributes:
        order: Its number.
        scope: As "tenant 'acme'".
        took_s: Since this process has heard of it.
    """

    order: int
    verb: str
    scope: str
    actor: str
    took_s: float


OrderEvent = GatesSet | OrderDone
