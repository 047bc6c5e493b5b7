"""The peer's database: the same table and the same rows as the gateway's, on the same server."""

import secrets
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

DATABASE = "bench_peer"
LOGIN = "bench_peer"
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_POLICY = """
    ALTER TABLE members ADD PRIMARY KEY (tenant_id, id), ADD UNIQUE (tenant_id, email);
    ALTER TABLE members ENABLE ROW LEVEL SECURITY;
    ALTER TABLE members FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON members USING (tenant_id = current_setting('app.tenant'));
    ANALYZE members
"""


@dataclass(frozen=True, slots=True)
class PeerDatabase:
    """Where the peer finds its rows.

    Attributes:
        dsn: As a URL, for asyncpg; a login that row-level security binds.
        rows: In the table, of all tenants.
    """

    dsn: str
    rows: int


def copy_members(superuser: str, schema: str) -> PeerDatabase:
    """Make the peer's database anew and copy the gateway's members into it.

    Args:
        superuser: conninfo of the gateway's database, with rights to make another.
        schema: Where `members` is in it.
    """
    _make_database(superuser)
    there = make_conninfo(superuser, dbname=DATABASE)
    password = secrets.token_urlsafe(24)
    source = sql.Identifier(schema, "members")
    with psycopg.connect(superuser) as gateway, psycopg.connect(there) as peer:
        columns = gateway.execute(_COLUMNS, [f'"{schema}".members']).fetchall()
        definitions = [
            sql.SQL("{} {} {}").format(
                sql.Identifier(name), sql.SQL(kind), sql.SQL("NOT NULL" if required else "")
            )
            for name, kind, required in columns
        ]
        peer.execute(sql.SQL("CREATE TABLE members ({})").format(sql.SQL(", ").join(definitions)))
        with (
            gateway.cursor().copy(sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(source)) as reading,
            peer.cursor().copy("COPY members FROM STDIN") as writing,
        ):
            for block in reading:
                writing.write(block)
        peer.execute(_POLICY)
        peer.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(LOGIN), sql.Literal(password))
        )
        peer.execute(sql.SQL("GRANT SELECT ON members TO {}").format(sql.Identifier(LOGIN)))
        counted = peer.execute("SELECT count(*) FROM members").fetchone()
    assert counted is not None  # noqa: S101 - count(*) has one row
    part = conninfo_to_dict(superuser)
    return PeerDatabase(
        f"postgresql://{LOGIN}:{password}@{part['host']}:{part['port']}/{DATABASE}", int(counted[0])
    )


def _make_database(superuser: str) -> None:
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        )
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(LOGIN)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
