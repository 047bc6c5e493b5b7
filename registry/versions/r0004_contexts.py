"""Clusters that requests reach through PgBouncer, and context keys that are replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

SCHEMA = "tiergate_registry"


def upgrade() -> None:
    """Add the columns; every cluster is reached directly, and every key is the only one."""
    op.add_column("cluster", sa.Column("pgbouncer", sa.Text), schema=SCHEMA)
    op.add_column(
        "cluster",
        sa.Column("pgbouncer_prepares", sa.Boolean, nullable=False, server_default=sa.text("false")),
        schema=SCHEMA,
    )
    op.add_column("data_database", sa.Column("context_retiring", sa.Integer), schema=SCHEMA)
    op.add_column(
        "data_database",
        sa.Column("context_since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
