"""Why a tenant must live apart."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

SCHEMA = "tiergate_registry"


def upgrade() -> None:
    """Add the column; no tenant has a reason yet."""
    op.add_column("tenant", sa.Column("compliance", sa.Text), schema=SCHEMA)
    op.create_index(
        "tenant_compliance_idx", "tenant", ["name"],
        postgresql_where=sa.text("compliance IS NOT NULL"), schema=SCHEMA,
    )  # fmt: skip
