"""What tenants use, by the hour, and who has written how much of it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

SCHEMA = "tiergate_registry"
_SUMS = ("requests", "failed", "rows", "in_bytes", "out_bytes", "database_us", "connection_us")


def upgrade() -> None:
    """Make the tables; storage is due to be measured on every cluster."""
    op.create_table(
        "usage",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0")) for name in _SUMS),
        sa.Column("storage_bytes", sa.BigInteger),
        sa.PrimaryKeyConstraint("tenant", "hour", "tier", name="usage_pkey"),
        schema=SCHEMA,
    )
    op.create_index("usage_hour_idx", "usage", ["hour"], schema=SCHEMA)
    # A row is added to every few seconds for an hour: with room on its page that writes no index.
    op.execute(f"ALTER TABLE {SCHEMA}.usage SET (fillfactor = 70)")
    op.create_table(
        "usage_writer",
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("process", name="usage_writer_pkey"),
        schema=SCHEMA,
    )
    op.add_column(
        "cluster",
        sa.Column("storage_due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
