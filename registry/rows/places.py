"""What is read of a place, and the value that it makes."""

from weakref import WeakValueDictionary

from sqlalchemy import RowMapping, func

from registry.placement import Place, PlaceId
from registry.rows.replicas import REPLICAS, replicas_of
from registry.tables import CLUSTER, DATA_DATABASE, PLACE
from registry.vault import Vault
from tiergate.tenant import Tier

PLACE_COLUMNS = (
    PLACE.c.id.label("place_id"),
    PLACE.c.tier.label("place_tier"),
    PLACE.c.state.label("place_state"),
    PLACE.c.cluster,
    PLACE.c.database,
    PLACE.c.schema,
    PLACE.c.login,
    PLACE.c.login_secret,
    func.coalesce(CLUSTER.c.pgbouncer, CLUSTER.c.conninfo).label("way"),
    CLUSTER.c.pgbouncer.is_not(None).label("via_pgbouncer"),
    CLUSTER.c.pgbouncer_prepares,
    DATA_DATABASE.c.context_kid,
    REPLICAS,
)
PLACES = PLACE.join(CLUSTER, PLACE.c.cluster == CLUSTER.c.name).join(
    DATA_DATABASE,
    (PLACE.c.cluster == DATA_DATABASE.c.cluster) & (PLACE.c.database == DATA_DATABASE.c.database),
)

# A place is one value for all who live there, as long as anybody knows it: thousands share one, and its
# secrets are dear to open. By the vault and by all that was read.
_KNOWN: "WeakValueDictionary[tuple[Vault, str], Place]" = WeakValueDictionary()


def place_of(found: RowMapping, vault: Vault) -> Place:
    """The place that a row with PLACE_COLUMNS tells of; the same value as long as the row is the same.

    Raises:
        SecretUnreadable: Its password was sealed with another master key.
    """
    key = (vault, repr([found[column.name] for column in PLACE_COLUMNS]))
    place = _KNOWN.get(key)
    if place is None:
        place = _KNOWN[key] = _open(found, vault)
    return place


def _open(found: RowMapping, vault: Vault) -> Place:
    return Place(
        id=PlaceId(found["place_id"]),
        tier=Tier(found["place_tier"]),
        cluster=found["cluster"],
        conninfo=found["way"],
        database=found["database"],
        schema=found["schema"],
        login=found["login"],
        password=vault.open(found["login_secret"]),
        context_key=vault.context_key(found["cluster"], found["database"], found["context_kid"]),
        context_kid=found["context_kid"],
        via_pgbouncer=found["via_pgbouncer"],
        prepares=found["pgbouncer_prepares"] or not found["via_pgbouncer"],
        replicas=replicas_of(found),
    )
