"""What the registry says there should be on one cluster: the measure of every look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet import roles
from fleet.access import ClusterAccess
from registry.errors import UnknownCluster, UnknownPlace, UnknownTenant
from registry.placement import Place, PlaceId
from registry.records import Cluster, PlaceState, Tenant
from registry.store import Store
from tiergate.tenant import TenantId, Tier

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified; everything unless it is narrowed."""

    tenant: TenantId | None = None
    place: PlaceId | None = None
    cluster: str | None = None
    tries: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """One cluster.

    Attributes:
        places: Every place there that is made.
        asked: Those of them that are to be looked at.
        tenants: The tenants to look at in those.
        is_whole: Whether *tenants* are all that the asked places have.
        is_full: Whether its tenants may run all of SQL.
        known_logins: Of every place in the registry, whatever cluster it is on.
        rotating: By database, the context keys that it may know besides: the one before, and the next one.
    """

    cluster: Cluster
    access: ClusterAccess
    places: tuple[Place, ...]
    asked: tuple[Place, ...]
    tenants: tuple[Tenant, ...]
    is_whole: bool
    is_full: bool
    known_logins: tuple[str, ...]
    rotating: Mapping[str, Sequence[Place]]

    @property
    def tier(self) -> Tier:
        """Whose tenants it takes."""
        return self.cluster.tier

    @property
    def group(self) -> str | None:
        """The one role that logins are members of."""
        return {Tier.STANDARD: roles.APP, Tier.PREMIUM: roles.PREMIUM, Tier.GOVERNMENT: None}[self.tier]

    @property
    def groups(self) -> list[str]:
        """The roles that nobody logs in as."""
        return [roles.OWNER, roles.CONTEXT, *([self.group] if self.group else [])]

    def databases(self) -> list[str]:
        """Those that hold the places that are to be looked at, and a shared one even when it is empty."""
        found = dict.fromkeys(place.database for place in self.asked)
        if self.is_whole and self.tier is not Tier.GOVERNMENT:
            found |= {self.cluster.database: None}
        return list(found)

    def houses(self) -> list[tuple[str, str | None, str | None]]:
        """Each database of ours here, the place that has it to itself, the one role that may enter it."""
        match self.tier:
            case Tier.STANDARD:
                login = next((place.login for place in self.places), None)
                return [(self.cluster.database, None, login)]
            case Tier.PREMIUM:
                return [(self.cluster.database, None, roles.PREMIUM)]
            case Tier.GOVERNMENT:
                own = [(place.database, str(place.id), place.login) for place in self.places]
                return [(self.cluster.database, None, None), *own]


async def survey(store: Store, asked: Asked, full_sql: frozenset[Tier] = frozenset()) -> list[Site]:
    """The clusters that *asked* is about, with what the registry knows of them.

    Raises:
        UnknownTenant, UnknownPlace, UnknownCluster: It asks for what is not there.
    """
    tenants = await _tenants(store)
    clusters = await store.clusters()
    if asked.cluster is not None and asked.cluster not in {cluster.name for cluster in clusters}:
        raise UnknownCluster(asked.cluster)
    if asked.tenant is not None:
        tenants = [tenant for tenant in tenants if tenant.name == asked.tenant]
        if not tenants:
            raise UnknownTenant(asked.tenant)
    known = {cluster.name: await store.places(cluster.name) for cluster in clusters}
    registry = await store.fingerprint()
    logins = tuple(each.place.login for places in known.values() for each in places)
    lives_in = {tenant.place for tenant in tenants} if asked.tenant is not None else None
    sites, found_place = [], False
    for cluster in clusters:
        made = tuple(each.place for each in known[cluster.name] if each.state is PlaceState.READY)
        wanted = tuple(
            place
            for place in made
            if asked.place in {None, place.id} and (lives_in is None or place.id in lives_in)
        )
        found_place = found_place or bool(wanted)
        is_narrowed = asked.place is not None or lives_in is not None
        if asked.cluster not in {None, cluster.name} or (is_narrowed and not wanted):
            continue
        ids = {place.id for place in made}
        here = tuple(tenant for tenant in tenants if tenant.place in ids)
        access = ClusterAccess(
            cluster.name,
            cluster.conninfo,
            cluster.database,
            cluster.admin_user,
            cluster.admin_password,
            registry,
        )
        is_full = cluster.tier in full_sql
        rotating = {
            key.database: [
                store.context_place(key, kid) for kid in (key.retiring, key.kid + 1) if kid is not None
            ]
            for key in await store.context_keys(cluster.name)
        }
        sites.append(Site(cluster, access, made, wanted, here, lives_in is None, is_full, logins, rotating))
    if asked.place is not None and not found_place:
        raise UnknownPlace(asked.place)
    return sites


async def _tenants(store: Store) -> list[Tenant]:
    found: list[Tenant] = []
    while page := await store.tenants(limit=_PAGE, after=found[-1].name if found else ""):
        found += page
    return found
