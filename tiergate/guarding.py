"""What the settings mean for the guard: the lists of each tier, with what the operator adds."""

from collections.abc import Iterator
from dataclasses import replace

from config.errors import Mistake, SettingsInvalid
from config.settings import Settings, TierGuard
from guard.additions import AdditionDangerous, Additions, AdditionUnreadable, checked
from guard.catalog import Catalog, catalog
from guard.verdict import Guard
from tiergate.limits import schemas
from tiergate.tenant import Tier

_LISTS = ("functions", "types", "operators", "extensions")


def guard_of(settings: Settings) -> Guard:
    """The guard that judges statements by these settings.

    Raises:
        SettingsInvalid: The operator adds what is dangerous, or no name.
    """
    catalogs: dict[Tier, Catalog] = {}
    mistakes: list[Mistake] = []
    for tier, added in settings.guard.tiers.items():
        if found := list(_mistakes(tier, added)):
            mistakes += found
        else:
            catalogs[tier] = _catalog(settings, tier, added)
    if mistakes:
        raise SettingsInvalid(mistakes)
    return Guard(catalogs)


def _mistakes(tier: Tier, added: TierGuard) -> Iterator[Mistake]:
    """Every name that cannot be added; each is looked at alone, since the first one found ends a look."""
    for listed in _LISTS:
        for name in getattr(added, listed):
            try:
                checked(replace(Additions(), **{listed: frozenset({name})}))
            except (AdditionDangerous, AdditionUnreadable) as exc:
                yield Mistake(f"guard.tiers.{tier}.{listed}", f'"{name}"', f"take it out: {exc}")


def _catalog(settings: Settings, tier: Tier, added: TierGuard) -> Catalog:
    additions = Additions(
        functions=frozenset(added.functions),
        types=frozenset(added.types),
        operators=frozenset(added.operators),
        extensions=frozenset(added.extensions),
    )
    # A plan tells estimates over all rows: not where tables are shared.
    return catalog(additions, schemas=schemas(settings), explain=tier is not Tier.STANDARD)
