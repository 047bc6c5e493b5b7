"""Moves as an operator asks for them: looked at first, written down, steered, proven.

Nothing is moved here: a worker of any gateway takes what is written down (moves/worker.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from admin.acting import Acting
from fleet.access import access_of
from fleet.application import ApplicationSql
from moves.ends import End
from moves.errors import MoveRefused
from moves.finding import Finding
from moves.preflight import Preflight, look
from moves.sight import Goal
from registry.moves import Move, MoveId, MoveStep, Timing, Wanted
from registry.records import Cluster
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a move would be.

    Attributes:
        source: Cluster that the tenant is on.
        target: The one that it would go to.
    """

    source: str
    target: str
    seen: Preflight


@dataclass(frozen=True, slots=True)
class Planned:
    """A move that is written down, and what was seen before."""

    move: Move
    seen: Preflight


@dataclass(frozen=True, slots=True)
class Proof:
    """A move's signed record.

    Attributes:
        is_authentic: Whether this registry has signed it, and nobody changed it since.
    """

    signed: Mapping[str, object]
    is_authentic: bool


class Moving(Acting):
    """Moves, for operators.

    Every method may raise `RegistryUnavailable` and `RegistryFailed`.

    Args:
        application_schema: Where the application's tables lie on the standard and government tiers.
    """

    def __init__(self, store: Store, application: ApplicationSql, application_schema: str) -> None:
        super().__init__(store)
        self.budget: int | None = None
        self._application = application
        self._schema = application_schema

    async def foresee(
        self, tenant: TenantId, tier: Tier, *, cluster: str | None, deadline: Deadline
    ) -> Foreseen:
        """Look at both ends for what would make a move fail; nothing is changed.

        Raises:
            UnknownTenant, WrongState, MoveOpen, SamePlace: It cannot be moved so.
            UnknownCluster, WrongTier, ResidencyViolated, NoCluster: There is nowhere to put it.
            ClusterUnreachable, ClusterUnfit, NotSuperuser, ProvisioningTimeout, ProvisioningFailed:
                An end could not be looked at.
        """
        here, chosen = await self._store.foresee_move(tenant, tier, cluster=cluster)
        old, new = await self._store.cluster(here.place.cluster), await self._store.cluster(chosen)
        goal = await self._goal(new, tier)
        seen = await look(End(access_of(old), here), goal, self._application, deadline)
        return Foreseen(old.name, new.name, seen)

    async def plan(
        self,
        tenant: TenantId,
        tier: Tier,
        *,
        cluster: str | None,
        timing: Timing,
        actor: str,
        deadline: Deadline,
    ) -> Planned:
        """Have the tenant moved, unless something stands in the way.

        Raises:
            MoveRefused: It does; nothing was changed.
            UnknownTenant, …: As of `foresee`.
        """
        async with self._witnessed(actor, "move.plan", tenant):
            foreseen = await self.foresee(tenant, tier, cluster=cluster, deadline=deadline)
            if foreseen.seen.is_refused:
                raise MoveRefused(tenant, _reasons(foreseen.seen.findings))
            move = await self._store.plan_move(
                tenant, tier, cluster=foreseen.target, timing=timing,
                application_schema=self._schema, actor=actor,
            )  # fmt: skip
            return Planned(move, foreseen.seen)

    async def moves(self, *, tenant: TenantId | None, open_only: bool, limit: int) -> list[Move]:
        """Moves, the latest first."""
        return await self._store.moves(tenant=tenant, open_only=open_only, limit=limit)

    async def move(self, number: MoveId) -> tuple[Move, Sequence[MoveStep]]:
        """One move, and its journal.

        Raises:
            UnknownMove: There is none.
        """
        return await self._store.move(number), await self._store.move_steps(number)

    async def ask(self, number: MoveId, wanted: Wanted | Literal["pause", "resume"], *, actor: str) -> Move:
        """Have the move's worker do something when it comes to it. Again is no harm.

        Raises:
            UnknownMove: There is none.
            WrongState: The move is over, or not where that could be done.
        """
        async with self._witnessed(actor, f"move.{wanted}", number):
            return await self._store.ask_move(number, wanted, actor=actor)

    async def proof(self, number: MoveId) -> Proof | None:
        """The move's signed record; None before it is cut over.

        Raises:
            UnknownMove: There is none.
        """
        signed = (await self._store.move(number)).evidence
        return None if signed is None else Proof(signed, await self._store.is_authentic(signed))

    async def _goal(self, cluster: Cluster, tier: Tier) -> Goal:
        shared = None
        if tier is Tier.STANDARD:
            shared = next((known.place for known in await self._store.places(cluster.name)), None)
        return Goal(access_of(cluster), tier, shared, cluster.tenants, self.budget)


def _reasons(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(f"{each.code}: {each.what} ({each.where}). {each.cure}" for each in findings if each.forbids)
