"""The audit becomes a chain that is only added to; what is in it already is chained as it stands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from registry.chain import GENESIS, code_of
from registry.records import Entry
from registry.vault import Vault

revision = "0003"
down_revision = "0002"

SCHEMA = "tiergate_registry"
LOCK = 0x7467_5F61_7564_6974
"""The advisory lock under which entries are added: "tg_audit" in ASCII."""

_AS_TEXT = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ANY_SECRET = f"SELECT admin_secret FROM {SCHEMA}.cluster LIMIT 1"  # noqa: S608 - constants
_REGISTRY = f"SELECT id FROM {SCHEMA}.registry"  # noqa: S608
_AUDIT = f"SELECT *, {_AS_TEXT.format('at')} AS at_text FROM {SCHEMA}.audit ORDER BY id"  # noqa: S608
_LINK = f"""
UPDATE {SCHEMA}.audit SET id = :number, previous = :previous, digest = :digest WHERE id = :id
"""  # noqa: S608


def upgrade() -> None:
    """Number and chain what is there; refuse changes from then on."""
    for name in ("previous", "digest"):
        op.add_column("audit", sa.Column(name, sa.LargeBinary), schema=SCHEMA)
    op.execute(f"ALTER TABLE {SCHEMA}.audit ALTER id DROP IDENTITY")
    op.execute(f"ALTER TABLE {SCHEMA}.audit ALTER at DROP DEFAULT, ALTER detail DROP DEFAULT")
    _chain(op.get_bind(), op.get_context().opts["vault"])
    for name in ("previous", "digest"):
        op.alter_column("audit", name, nullable=False, schema=SCHEMA)
        op.create_unique_constraint(f"audit_{name}_key", "audit", [name], schema=SCHEMA)
    op.execute(_HEAD)
    op.execute(_REFUSE)
    op.execute(_TRIGGER)
    # Always: `session_replication_role` switches the others off.
    op.execute(f"ALTER TABLE {SCHEMA}.audit ENABLE ALWAYS TRIGGER append_only")


def _chain(connection: sa.Connection, vault: Vault) -> None:
    if (sealed := connection.scalar(sa.text(_ANY_SECRET))) is not None:
        vault.open(sealed)  # with a wrong master key nothing must be chained
    key, previous = vault.audit_key(connection.scalar(sa.text(_REGISTRY))), GENESIS
    audit = connection.execute(sa.text(_AUDIT).columns(detail=JSONB)).mappings().all()
    for number, row in enumerate(audit, 1):
        entry = Entry(row["actor"], row["act"], row["subject"], row["outcome"], row["detail"])
        digest = code_of(key, number, row["at_text"], entry, previous)
        connection.execute(
            sa.text(_LINK),
            {"number": number, "previous": previous, "digest": digest, "id": row["id"]},
        )
        previous = digest


# One call, so that adding an entry costs one round trip more and not three. Each statement of a volatile
# function sees what was committed before it began: here, by whoever held the lock before.
_HEAD = f"""
CREATE FUNCTION {SCHEMA}.audit_head(OUT registry text, OUT id bigint, OUT digest bytea, OUT at text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({LOCK});
    SELECT r.id INTO registry FROM {SCHEMA}.registry AS r;
    SELECT a.id, a.digest INTO id, digest FROM {SCHEMA}.audit AS a ORDER BY a.id DESC LIMIT 1;
    at := {_AS_TEXT.format("clock_timestamp()")};
END $$
"""  # noqa: S608

_REFUSE = f"""
CREATE FUNCTION {SCHEMA}.audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'the audit is only added to';
END $$
"""

_TRIGGER = f"""
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {SCHEMA}.audit
FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.audit_refuse()
"""
