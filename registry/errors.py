"""What the registry refuses, or cannot do."""

from collections.abc import Sequence

from tiergate.errors import TiergateError
from tiergate.tenant import Tier


class RegistryUnavailable(TiergateError):
    """The registry did not answer in time, or could not be reached."""

    code = "registry-unavailable"
    retryable = True
    advice = "Look at the registry's Postgres server and at registry.url; cached tenants go on meanwhile."

    def __init__(self, why: str) -> None:
        super().__init__(f"the registry does not answer: {why}")
        self.why = why


class RegistryFailed(TiergateError):
    """The registry answered with an error that waiting will not cure."""

    code = "registry-failed"
    advice = "Check the role's grants on the schema tiergate_registry, and that only tiergate has changed it."

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"the registry refused a statement ({sqlstate}): {message}")
        self.sqlstate = sqlstate


class RegistryTooNew(TiergateError):
    """The registry's tables were made by a later tiergate than this one."""

    code = "registry-too-new"
    advice = "Start the version of tiergate that migrated the registry, or a later one."

    def __init__(self, found: Sequence[str], known: str) -> None:
        super().__init__(
            f"the registry is at revision {', '.join(found)}; this tiergate knows no later one than {known}"
        )
        self.found = tuple(found)
        self.known = known


class SecretUnreadable(TiergateError):
    """A secret that the registry keeps does not open with this master key."""

    code = "secret-unreadable"
    advice = "Set secrets.master_key to the key that the registry's secrets were sealed with."

    def __init__(self) -> None:
        super().__init__("a sealed secret does not open with this master key")


class UnknownDatabase(TiergateError):
    """The registry has no such database with tenants."""

    code = "unknown-database"
    advice = "`tiergate keys list` shows those there are."

    def __init__(self, cluster: str, database: str) -> None:
        super().__init__(f"no tenants live in database {database!r} of cluster {cluster!r}")


class UnknownTenant(TiergateError):
    """The registry has no such tenant."""

    code = "unknown-tenant"
    advice = "Check the tenant's name; `tiergate tenant list` shows those there are."

    def __init__(self, tenant: str) -> None:
        super().__init__(f"there is no tenant {tenant!r}")
        self.tenant = tenant


class TenantExists(TiergateError):
    """The name is taken."""

    code = "tenant-exists"
    advice = "Choose another name, or go on with the tenant that is there."

    def __init__(self, tenant: str, differs: str) -> None:
        super().__init__(f"there is already a tenant {tenant!r}: {differs}")
        self.tenant = tenant
        self.differs = differs


class WrongState(TiergateError):
    """What was asked does not fit where the tenant or its place stands in its life."""

    code = "wrong-state"
    advice = "Finish what is under way first: `tiergate tenant show` tells the state."

    def __init__(self, subject: str, state: str, wanted: str) -> None:
        super().__init__(f"{subject} is {state} and cannot become {wanted}")
        self.subject = subject
        self.state = state
        self.wanted = wanted


class TenantServed(TiergateError):
    """A tenant that is to be deleted is served."""

    code = "tenant-served"
    advice = (
        "Suspend it first (`tiergate tenant suspend`), and see that nobody misses it: "
        "what is deleted does not come back."
    )

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant {tenant!r} is served, and only a suspended one is deleted")
        self.tenant = tenant


class UnknownMove(TiergateError):
    """The registry has no such move."""

    code = "unknown-move"
    advice = "Check the move's id; `tiergate moves list` shows those there are."

    def __init__(self, move: str) -> None:
        super().__init__(f"there is no move {move!r}")
        self.move = move


class MoveOpen(TiergateError):
    """The tenant is being moved."""

    code = "move-open"
    advice = (
        "Wait for the move, or end it: `tiergate moves show` tells how far it is, `moves abort` undoes it."
    )

    def __init__(self, tenant: str, move: str, state: str) -> None:
        super().__init__(f"tenant {tenant!r} is being moved: move {move} is {state}")
        self.tenant = tenant
        self.move = move
        self.state = state


class MoveLost(TiergateError):
    """A worker has spoken of a move that is not its any more, or not where it thought."""

    code = "move-lost"
    advice = "Nothing is to be done: whoever has the move goes on with it."

    def __init__(self, move: str) -> None:
        super().__init__(f"move {move} is another worker's, or has come further, by now")
        self.move = move


class SamePlace(TiergateError):
    """A tenant is to be moved to where it is."""

    code = "same-place"
    advice = "Name another tier, or another cluster of the same one."

    def __init__(self, tenant: str, cluster: str) -> None:
        super().__init__(f"tenant {tenant!r} is on cluster {cluster!r} already")
        self.tenant = tenant
        self.cluster = cluster


class UnknownCluster(TiergateError):
    """The registry has no such cluster."""

    code = "unknown-cluster"
    advice = "Check the cluster's name; `tiergate cluster list` shows those there are."

    def __init__(self, cluster: str) -> None:
        super().__init__(f"there is no cluster {cluster!r}")
        self.cluster = cluster


class UnknownReplica(TiergateError):
    """The cluster has no such replica."""

    code = "unknown-replica"
    advice = "`tiergate cluster show` tells those there are."

    def __init__(self, cluster: str, name: str) -> None:
        super().__init__(f"cluster {cluster!r} has no replica {name!r}")
        self.cluster = cluster
        self.name = name


class ClusterExists(TiergateError):
    """The name is taken."""

    code = "cluster-exists"
    advice = (
        "Choose another name. If that cluster has moved, `tiergate cluster set-address` tells where to; "
        "its tier, region and database stay what they are."
    )

    def __init__(self, cluster: str, differs: str) -> None:
        super().__init__(f"there is already a cluster {cluster!r}: {differs}")
        self.cluster = cluster
        self.differs = differs


class ClusterInUse(TiergateError):
    """A cluster that is to be removed has tenants."""

    code = "cluster-in-use"
    advice = "Delete its tenants first; `tiergate tenant list` shows which cluster each one is on."

    def __init__(self, cluster: str, tenants: int, moves: int = 0) -> None:
        super().__init__(
            f"cluster {cluster!r} has tenants: {tenants}"
            + (f", and moves under way: {moves}" if moves else "")
        )
        self.cluster = cluster
        self.tenants = tenants


class BadCluster(TiergateError):
    """A cluster cannot be described like this."""

    code = "bad-cluster"
    advice = "Name it like a host (a-z, 0-9, -); give host, port and TLS as libpq keywords, the rest apart."

    def __init__(self, why: str) -> None:
        super().__init__(why)


class NoCluster(TiergateError):
    """No cluster of the tier may take the tenant."""

    code = "no-cluster"
    advice = "Add a cluster of that tier, in that region where one is asked for."

    def __init__(self, tier: Tier, region: str | None) -> None:
        where = f" in region {region!r}" if region else ""
        super().__init__(f"there is no {tier} cluster{where}")
        self.tier = tier
        self.region = region


class WrongTier(TiergateError):
    """The cluster serves another tier than the tenant's."""

    code = "wrong-tier"
    advice = "Name a cluster of the tenant's tier, or none."

    def __init__(self, cluster: str, tier: Tier, wanted: Tier) -> None:
        super().__init__(f"cluster {cluster!r} is {tier}, not {wanted}")
        self.cluster = cluster
        self.tier = tier
        self.wanted = wanted


class ResidencyViolated(TiergateError):
    """The tenant's rows may not lie in the cluster's region."""

    code = "residency-violated"
    advice = "Name a cluster in the tenant's region, or none."

    def __init__(self, cluster: str, region: str | None, wanted: str) -> None:
        where = f"in region {region!r}" if region else "in no named region"
        super().__init__(f"cluster {cluster!r} is {where}; the tenant must stay in {wanted!r}")
        self.cluster = cluster
        self.region = region
        self.wanted = wanted


class UnknownPlace(TiergateError):
    """The registry has no such place."""

    code = "unknown-place"

    def __init__(self, place: str) -> None:
        super().__init__(f"there is no place {place!r}")
        self.place = place


class UnknownKey(TiergateError):
    """No valid API key is meant: never made, mistyped, expired or revoked; which one is not said."""

    code = "unknown-key"
    advice = "Use a key that `tiergate key list` shows as valid, or create one."

    def __init__(self) -> None:
        super().__init__("the API key is not valid")


class UnknownCredential(TiergateError):
    """The registry has no such key to change; told to operators, never to callers."""

    code = "unknown-credential"
    advice = "Check the key's id; `tiergate key list` shows those there are."

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id!r} that could be changed so")
        self.key_id = key_id
