"""What operators tell every process to do, and what each of them answers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from observe.loudness import Loud
from registry.placement import Place, PlaceId, Placement

BEAT_S = 5.0
"""How often a process says that it is there."""
SILENT_S = 3 * BEAT_S
"""Who was not heard of for that long may be gone, or cut off."""


class Verb(StrEnum):
    """What is to be done with a scope."""

    SHOW = "show"
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    RECONNECT = "reconnect"
    KILL = "kill"

    @property
    def stands(self) -> bool:
        """Whether it holds until its end; the others are done once."""
        return self in {Verb.PAUSE, Verb.DRAIN}


class Kind(StrEnum):
    """What a scope is named after."""

    TENANT = "tenant"
    POOL = "pool"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose requests and connections are meant.

    Attributes:
        name: A tenant's or cluster's name, or a place's id; a cluster's replicas are meant with it.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    def holds(self, placement: Placement) -> bool:
        """Whether requests at *placement* are meant."""
        return placement.tenant == self.name if self.kind is Kind.TENANT else self.has(placement.place)

    def has(self, place: Place) -> bool:
        """Whether all connections to *place* are meant; of a tenant see `Order.place`."""
        match self.kind:
            case Kind.TENANT:
                return False
            case Kind.POOL:
                return place.id == self.name
            case Kind.CLUSTER:
                return place.primary == self.name
            case _:
                assert_never(self.kind)


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it was read.

    Attributes:
        place: A tenant's own place, whose connections are all its own; None where it shares them.
        left_s: Until it ends, by the registry's clock.
        age_s: Since it was given, by the same clock.
        is_hold: A move's, while it cuts over; nobody waits for an answer.
    """

    id: int
    verb: Verb
    scope: Scope
    place: PlaceId | None
    actor: str
    left_s: float
    age_s: float
    is_hold: bool = False

    def has(self, place: Place) -> bool:
        """Whether all connections to *place* are meant."""
        return self.scope.has(place) or place.id == self.place


@dataclass(frozen=True, slots=True)
class Answer:
    """How far one process has come with an order.

    Attributes:
        done: Nothing is left to do or to wait for.
        requests: Requests of the scope that have a connection, or whose server has not yet let go of one.
        waiting: Requests of the scope that wait, at a gate or for a connection.
        connections: Open connections that are meant: all of the scope, or those that are to be closed.
        ended: Requests that were cut off.
        oldest_s: For how long the longest of *requests* has been at work.
    """

    done: bool
    requests: int = 0
    waiting: int = 0
    connections: int = 0
    ended: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a gateway, as it names itself.

    Attributes:
        id: Random, of this life only.
        gateway: Its host and port.
        machine: Where *pid* means something; empty when that is not known.
        forget_after_s: Silent for so long, it can have no placement in memory any more, and serves nobody.
    """

    id: str
    gateway: str
    machine: str
    pid: int
    version: str
    forget_after_s: float


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one process has, as JSON; bounded.

    Attributes:
        pools: The fullest of its pools.
        budgets: What it may have, and has, of each cluster.
        more_pools: How many pools were left out.
        log: How much its log says; None where it does not tell.
    """

    pools: tuple[Mapping[str, object], ...] = ()
    budgets: tuple[Mapping[str, object], ...] = ()
    more_pools: int = 0
    log: Loud | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A process as the registry knows it.

    Attributes:
        silent_s: Since it was last heard of, by the registry's clock.
        answer: To the order that was asked for; None when it has not answered.
    """

    process: Process
    started_at: datetime
    silent_s: float
    holdings: Holdings
    answer: Answer | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it was not heard of lately."""
        return self.silent_s > SILENT_S

    @property
    def has_done(self) -> bool:
        """Whether it has said that nothing of the order is left to do."""
        return self.answer is not None and self.answer.done


@dataclass(frozen=True, slots=True)
class Told:
    """An order, and what became of it.

    Attributes:
        processes: Every process that may serve requests, silent ones too.
        is_over: It has ended before all were done: its time was over, or somebody gave another one.
    """

    order: Order
    processes: tuple[Known, ...]
    is_over: bool = False

    @property
    def is_done(self) -> bool:
        """Whether every process has said that it is done."""
        return not self.is_over and all(known.has_done for known in self.processes)
