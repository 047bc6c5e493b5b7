"""A name that no other registry has: data databases remember whose they are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

SCHEMA = "tiergate_registry"


def upgrade() -> None:
    """Make the table, with its one row."""
    op.create_table(
        "registry",
        sa.Column("id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="registry_pkey"),
        schema=SCHEMA,
    )
    op.execute(f"INSERT INTO {SCHEMA}.registry (id) VALUES (gen_random_uuid()::text)")  # noqa: S608 - a constant
