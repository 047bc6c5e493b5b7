"""What an operator sets for one tenant alone; and tenants that are being deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = "tiergate_registry"

_LIMITS = {
    "requests_per_s": (sa.Double, "0.01 AND 1000000"),
    "burst": (sa.Integer, "1 AND 10000000"),
    "max_tenant_inflight": (sa.Integer, "1 AND 10000"),
    "max_tenant_waiting": (sa.Integer, "0 AND 1000000"),
    "weight": (sa.Integer, "1 AND 1000"),
}
_STATES = "state IN ('creating', 'active', 'suspended', 'deleting')"


def upgrade() -> None:
    """Add the columns; every tenant has what its tier has, and none is warm."""
    for name, (kind, within) in _LIMITS.items():
        op.add_column("tenant", sa.Column(name, kind), schema=SCHEMA)
        op.create_check_constraint(
            f"tenant_{name}_check", "tenant", f"{name} BETWEEN {within}", schema=SCHEMA
        )
    op.add_column(
        "tenant",
        sa.Column("warm", sa.Boolean, nullable=False, server_default=sa.text("false")),
        schema=SCHEMA,
    )
    op.create_index("tenant_warm_idx", "tenant", ["name"], postgresql_where=sa.text("warm"), schema=SCHEMA)
    op.drop_constraint("tenant_state_check", "tenant", schema=SCHEMA)
    op.create_check_constraint("tenant_state_check", "tenant", _STATES, schema=SCHEMA)
