"""Moves of tenants, and their journal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"

SCHEMA = "tiergate_registry"


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "move",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("source_place", sa.Text, nullable=False),
        sa.Column("source_tier", sa.Text, nullable=False),
        sa.Column("source_cluster", sa.Text, nullable=False),
        sa.Column("target_place", sa.Text, nullable=False),
        sa.Column("target_tier", sa.Text, nullable=False),
        sa.Column("target_cluster", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("target_epoch", sa.BigInteger),
        sa.Column("holds", sa.Boolean, nullable=False),
        sa.Column("cut_at", sa.DateTime(timezone=True)),
        sa.Column("soak_s", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("attempt", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.Column("hold_order", sa.BigInteger),
        sa.Column("is_paused", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("wanted", sa.Text),
        sa.Column("progress", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("error", sa.Text),
        sa.Column("evidence", JSONB),
        _moment("created_at"),
        _moment("changed_at"),
        sa.Column("cut_over_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="move_pkey"),
        schema=SCHEMA,
    )
    op.create_index(
        "move_open_idx",
        "move",
        ["tenant"],
        unique=True,
        postgresql_where=sa.text("NOT state IN ('done', 'aborted', 'rolled_back')"),
        schema=SCHEMA,
    )
    op.create_table(
        "move_step",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("move", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="move_step_pkey"),
        sa.ForeignKeyConstraint(
            ["move"], [f"{SCHEMA}.move.id"], name="move_step_move_fkey", ondelete="CASCADE"
        ),
        schema=SCHEMA,
    )
    op.create_index("move_step_move_idx", "move_step", ["move"], schema=SCHEMA)
