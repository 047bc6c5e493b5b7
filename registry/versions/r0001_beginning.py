"""Clusters, places, tenants, credentials, audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

SCHEMA = "tiergate_registry"
_TIERS = "tier IN ('standard', 'premium', 'government')"


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    """Make everything; the schema itself is there already."""
    op.execute(f"CREATE SEQUENCE {SCHEMA}.epoch AS bigint")
    _where_rows_live()
    _who_is_served()
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        _moment("at"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("detail", postgresql.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
        schema=SCHEMA,
    )


def _where_rows_live() -> None:
    op.create_table(
        "cluster",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("conninfo", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("admin_secret", sa.Text, nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("name", name="cluster_pkey"),
        sa.CheckConstraint(_TIERS, name="cluster_tier_check"),
        schema=SCHEMA,
    )
    op.create_table(
        "data_database",
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("context_kid", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("cluster", "database", name="data_database_pkey"),
        sa.ForeignKeyConstraint(["cluster"], [f"{SCHEMA}.cluster.name"], name="data_database_cluster_fkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "place",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("schema", sa.Text, nullable=False),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("login_secret", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("id", name="place_pkey"),
        sa.CheckConstraint(_TIERS, name="place_tier_check"),
        sa.CheckConstraint("state IN ('preparing', 'ready')", name="place_state_check"),
        sa.ForeignKeyConstraint(
            ["cluster", "database"],
            [f"{SCHEMA}.data_database.cluster", f"{SCHEMA}.data_database.database"],
            name="place_cluster_database_fkey",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "place_shared_idx",
        "place",
        ["cluster"],
        unique=True,
        postgresql_where=sa.text("tier = 'standard'"),
        schema=SCHEMA,
    )
    op.create_index("place_cluster_database_idx", "place", ["cluster", "database"], schema=SCHEMA)


def _who_is_served() -> None:
    op.create_table(
        "tenant",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("name", name="tenant_pkey"),
        sa.CheckConstraint(_TIERS, name="tenant_tier_check"),
        sa.CheckConstraint("state IN ('creating', 'active', 'suspended')", name="tenant_state_check"),
        schema=SCHEMA,
    )
    op.create_table(
        "placement",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        _moment("since"),
        sa.PrimaryKeyConstraint("tenant", name="placement_pkey"),
        sa.UniqueConstraint("epoch", name="placement_epoch_key"),
        sa.ForeignKeyConstraint(
            ["tenant"], [f"{SCHEMA}.tenant.name"], ondelete="CASCADE", name="placement_tenant_fkey"
        ),
        sa.ForeignKeyConstraint(["place"], [f"{SCHEMA}.place.id"], name="placement_place_fkey"),
        schema=SCHEMA,
    )
    op.create_index("placement_place_idx", "placement", ["place"], schema=SCHEMA)
    op.create_table(
        "credential",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
        _moment("created_at"),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="credential_pkey"),
        sa.CheckConstraint("length(digest) = 32", name="credential_digest_check"),
        sa.ForeignKeyConstraint(
            ["tenant"], [f"{SCHEMA}.tenant.name"], ondelete="CASCADE", name="credential_tenant_fkey"
        ),
        schema=SCHEMA,
    )
    op.create_index("credential_tenant_idx", "credential", ["tenant"], schema=SCHEMA)
