"""The processes that serve, and what operators tell them to do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

SCHEMA = "tiergate_registry"


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "gateway_process",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("forget_after_s", sa.Double, nullable=False),
        _moment("started_at"),
        _moment("seen_at"),
        sa.Column("holdings", JSONB, nullable=False),
        sa.Column("answers", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="gateway_process_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "pool_order",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        _moment("made_at"),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pool_order_pkey"),
        sa.CheckConstraint(
            "verb IN ('show', 'pause', 'resume', 'drain', 'reconnect', 'kill')", name="pool_order_verb_check"
        ),
        sa.CheckConstraint("kind IN ('tenant', 'pool', 'cluster')", name="pool_order_kind_check"),
        schema=SCHEMA,
    )
