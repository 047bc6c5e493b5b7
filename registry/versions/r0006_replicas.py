"""Standbys of clusters that may be read from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SCHEMA = "tiergate_registry"


def upgrade() -> None:
    """Make the table; no cluster has one."""
    op.create_table(
        "replica",
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("conninfo", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("cluster", "name", name="replica_pkey"),
        sa.ForeignKeyConstraint(["cluster"], [f"{SCHEMA}.cluster.name"], name="replica_cluster_fkey"),
        schema=SCHEMA,
    )
