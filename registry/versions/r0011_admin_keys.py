"""Keys of operators, each with a name and a role."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

SCHEMA = "tiergate_registry"


def upgrade() -> None:
    """Make the table; until a key is made, the one of the settings is the only one."""
    op.create_table(
        "admin_key",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="admin_key_pkey"),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'owner')", name="admin_key_role_check"),
        sa.CheckConstraint("length(digest) = 32", name="admin_key_digest_check"),
        schema=SCHEMA,
    )
    op.create_index(
        "admin_key_name_idx", "admin_key", ["name"], unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"), schema=SCHEMA,
    )  # fmt: skip
