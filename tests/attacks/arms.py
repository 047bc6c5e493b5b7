"""The arms: which lines stand between an attacker and a victim."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementNotPassed
from guard.verdict import Guard
from tests.attacks.attack import Attack, attacks
from tests.attacks.door import open_both
from tests.attacks.ours import open_database_alone, open_login, open_ours
from tests.attacks.plain import Judge, open_plain
from tests.attacks.ring import Outcome, Ring, Verdict
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

OWN_LOGIN = (Tier.PREMIUM, Tier.GOVERNMENT)


@dataclass(frozen=True, slots=True)
class Arm:
    """What stands between.

    Attributes:
        by_login: Whether the attacker speaks to Postgres itself.
        leaves: What attacks marked as residual may come to here.
    """

    name: str
    tiers: tuple[Tier, ...]
    open: Callable[[Cluster, Tier], AbstractAsyncContextManager[Ring]]
    by_login: bool = False
    leaves: frozenset[Verdict] = frozenset()

    def attacks(self, tier: Tier) -> tuple[Attack, ...]:
        """Those that are tried here."""
        return attacks(tier, by_login=self.by_login)

    def holds(self, attack: Attack, outcome: Outcome) -> bool:
        """Whether that is contained, or known to remain."""
        return outcome.verdict is Verdict.CONTAINED or (attack.is_residual and outcome.verdict in self.leaves)


@asynccontextmanager
async def _database_alone(server: Cluster, tier: Tier) -> AsyncIterator[Ring]:
    async with open_ours(server) as places, open_database_alone(places, tier) as ring:
        yield ring


@asynccontextmanager
async def _login(server: Cluster, tier: Tier) -> AsyncIterator[Ring]:
    async with open_ours(server) as places, open_login(places, tier) as ring:
        yield ring


def _guard() -> Judge:
    """The guard, with the lists as they come; plans may be asked for where tables are not shared."""
    schemas = frozenset({"public", "app"})
    catalogs = {
        tier: catalog(Additions(), schemas=schemas, explain=tier is not Tier.STANDARD) for tier in Tier
    }
    guard = Guard(catalogs)

    def judge(text: str, tier: Tier) -> str:
        try:
            guard.judge(text, tier)
        except StatementNotPassed as exc:
            return str(exc)
        return ""

    return judge


def _guard_alone(server: Cluster, tier: Tier) -> AbstractAsyncContextManager[Ring]:
    return open_plain(server, tier, _guard(), careless=False)


PLAIN = Arm("plain", tuple(Tier), open_plain)
GUARD = Arm("guard", tuple(Tier), _guard_alone)
DATABASE = Arm("database", tuple(Tier), _database_alone, leaves=frozenset({Verdict.LEAKED}))
LOGIN = Arm("login", OWN_LOGIN, _login, by_login=True, leaves=frozenset(Verdict))
BOTH = Arm("both", tuple(Tier), open_both)
ARMS = (PLAIN, GUARD, DATABASE, BOTH, LOGIN)


async def run_all(server: Cluster, arm: Arm, tier: Tier) -> dict[Attack, Outcome]:
    """What becomes of every attack, in order."""
    async with arm.open(server, tier) as ring:
        own = await ring.strike(["SELECT count(*) FROM members"])
        assert own.last == ("40",), f"the attacker is not served: {own.text}"
        await ring.renew()
        return {attack: await ring.judge(attack) for attack in arm.attacks(tier)}
