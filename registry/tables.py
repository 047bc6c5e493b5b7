"""The registry's tables, as SQLAlchemy Core sees them.

The migrations in `versions/` make them; a test holds the two equal. Secrets
are kept sealed, API keys as digests only.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "tiergate_registry"
CHANNEL = "tiergate_registry"

METADATA = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)

_TIERS = "tier IN ('standard', 'premium', 'government')"


def _limit(name: str, kind: type[Double[float] | Integer], within: str) -> Column[object]:
    return Column(name, kind, CheckConstraint(f"{name} BETWEEN {within}", name=name))


def _moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


EPOCH = Sequence("epoch", metadata=METADATA, schema=SCHEMA, data_type=BigInteger)

REGISTRY = Table("registry", METADATA, Column("id", Text, primary_key=True))

CLUSTER = Table(
    "cluster",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("tier", Text, CheckConstraint(_TIERS, name="tier"), nullable=False),
    Column("region", Text),
    Column("conninfo", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("admin_secret", Text, nullable=False),
    Column("pgbouncer", Text),
    Column("pgbouncer_prepares", Boolean, nullable=False, server_default=text("false")),
    _moment("created_at"),
    _moment("storage_due_at"),
)

REPLICA = Table(
    "replica",
    METADATA,
    Column("cluster", Text, ForeignKey(CLUSTER.c.name), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("conninfo", Text, nullable=False),
    _moment("created_at"),
)

DATA_DATABASE = Table(
    "data_database",
    METADATA,
    Column("cluster", Text, ForeignKey(CLUSTER.c.name), primary_key=True),
    Column("database", Text, primary_key=True),
    Column("context_kid", Integer, nullable=False, server_default=text("1")),
    Column("context_retiring", Integer),
    _moment("context_since"),
)

PLACE = Table(
    "place",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("cluster", Text, nullable=False),
    Column("tier", Text, CheckConstraint(_TIERS, name="tier"), nullable=False),
    Column("database", Text, nullable=False),
    Column("schema", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("login_secret", Text, nullable=False),
    Column("state", Text, CheckConstraint("state IN ('preparing', 'ready')", name="state"), nullable=False),
    _moment("created_at"),
    ForeignKeyConstraint(["cluster", "database"], [DATA_DATABASE.c.cluster, DATA_DATABASE.c.database]),
    Index("place_shared_idx", "cluster", unique=True, postgresql_where=text("tier = 'standard'")),
    Index(None, "cluster", "database"),
)

TENANT = Table(
    "tenant",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("tier", Text, CheckConstraint(_TIERS, name="tier"), nullable=False),
    Column("region", Text),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('creating', 'active', 'suspended', 'deleting')", name="state"),
        nullable=False,
    ),
    _moment("created_at"),
    _limit("requests_per_s", Double, "0.01 AND 1000000"),
    _limit("burst", Integer, "1 AND 10000000"),
    _limit("max_tenant_inflight", Integer, "1 AND 10000"),
    _limit("max_tenant_waiting", Integer, "0 AND 1000000"),
    _limit("weight", Integer, "1 AND 1000"),
    Column("warm", Boolean, nullable=False, server_default=text("false")),
    Index("tenant_warm_idx", "name", postgresql_where=text("warm")),
    Column("compliance", Text),
    Index("tenant_compliance_idx", "name", postgresql_where=text("compliance IS NOT NULL")),
)
"""A limit that is null is its tier's."""

PLACEMENT = Table(
    "placement",
    METADATA,
    Column("tenant", Text, ForeignKey(TENANT.c.name, ondelete="CASCADE"), primary_key=True),
    Column("place", Text, ForeignKey(PLACE.c.id), nullable=False, index=True),
    Column("epoch", BigInteger, nullable=False, unique=True),
    _moment("since"),
)

CREDENTIAL = Table(
    "credential",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, ForeignKey(TENANT.c.name, ondelete="CASCADE"), index=True),
    Column("digest", LargeBinary, CheckConstraint("length(digest) = 32", name="digest"), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    _moment("created_at"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

ADMIN_KEY = Table(
    "admin_key",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column(
        "role", Text, CheckConstraint("role IN ('viewer', 'operator', 'owner')", name="role"), nullable=False
    ),
    Column("digest", LargeBinary, CheckConstraint("length(digest) = 32", name="digest"), nullable=False),
    _moment("created_at"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Index("admin_key_name_idx", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("previous", LargeBinary, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
)
"""Written by `registry.rows.asking` alone; triggers refuse every change of what is there."""

GATEWAY_PROCESS = Table(
    "gateway_process",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("gateway", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("forget_after_s", Double, nullable=False),
    _moment("started_at"),
    _moment("seen_at"),
    Column("holdings", JSONB, nullable=False),
    Column("answers", JSONB, nullable=False),
)
"""Each row is written by the process that it is about; `answers` are to `pool_order`, by its id."""

POOL_ORDER = Table(
    "pool_order",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "verb",
        Text,
        CheckConstraint(
            "verb IN ('show', 'pause', 'resume', 'drain', 'reconnect', 'kill')",
            name="verb",
        ),
        nullable=False,
    ),
    Column(
        "kind", Text, CheckConstraint("kind IN ('tenant', 'pool', 'cluster')", name="kind"), nullable=False
    ),
    Column("name", Text, nullable=False),
    Column("place", Text),
    Column("actor", Text, nullable=False),
    _moment("made_at"),
    Column("ends_at", DateTime(timezone=True), nullable=False),
)

_ENDED = "state IN ('done', 'aborted', 'rolled_back')"

MOVE = Table(
    "move",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source_place", Text, nullable=False),
    Column("source_tier", Text, nullable=False),
    Column("source_cluster", Text, nullable=False),
    Column("target_place", Text, nullable=False),
    Column("target_tier", Text, nullable=False),
    Column("target_cluster", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("target_epoch", BigInteger),
    Column("holds", Boolean, nullable=False),
    Column("cut_at", DateTime(timezone=True)),
    Column("soak_s", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("attempt", Text),
    Column("worker", Text),
    Column("leased_until", DateTime(timezone=True)),
    Column("hold_order", BigInteger),
    Column("is_paused", Boolean, nullable=False, server_default=text("false")),
    Column("wanted", Text),
    Column("progress", JSONB, nullable=False, server_default=text("'{}'")),
    Column("error", Text),
    Column("evidence", JSONB),
    _moment("created_at"),
    _moment("changed_at"),
    Column("cut_over_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Index("move_open_idx", "tenant", unique=True, postgresql_where=text(f"NOT {_ENDED}")),
)
"""Of places and tenants it keeps the names alone: it is still told when they are gone."""

MOVE_STEP = Table(
    "move_step",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("move", Text, ForeignKey(MOVE.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("state", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
)

USAGE_SUMS = ("requests", "failed", "rows", "in_bytes", "out_bytes", "database_us", "connection_us")

USAGE = Table(
    "usage",
    METADATA,
    Column("tenant", Text, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("tier", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in USAGE_SUMS),
    Column("storage_bytes", BigInteger),
    Index(None, "hour"),
)
"""Of tenants it keeps the names alone: what was used is still told when they are gone."""

USAGE_WRITER = Table(
    "usage_writer",
    METADATA,
    Column("process", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    _moment("seen_at"),
)
"""What each process has written last, so that nothing is added twice."""
