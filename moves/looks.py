"""The questions that are asked of each end before a move. Each answers with one sentence a mistake.

Nothing here changes anything, or waits for a lock. A move that would fail half-way fails here instead.
"""

from dataclasses import dataclass
from enum import StrEnum

from fleet.access import TENANT_LOCKS
from fleet.identifier import quote_identifier
from fleet.own import own_schema
from registry.placement import Placement
from tiergate.tenant import Tier

LONG_S = 5.0
"""From this age on a transaction is told: a cut-over's attempt waits 0.3 s for it."""


class Side(StrEnum):
    """Of which end it is asked."""

    SOURCE = "source"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Look:
    """One question.

    Attributes:
        query: Gives a sentence a row. May name tenant, place, epoch, schema (quoted), bare_schema, own,
            login (quoted), locks, long_s.
        tiers: Of that end's place.
    """

    code: str
    query: str
    sides: frozenset[Side] = frozenset({Side.SOURCE})
    tiers: frozenset[Tier] = frozenset(Tier)


_TARGET = frozenset({Side.TARGET})
_BOTH = frozenset(Side)
_OWN_PLACE = frozenset({Tier.PREMIUM, Tier.GOVERNMENT})
_TABLES = "c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition"

LOOKS = (
    Look(
        "standby",
        "SELECT 'the server that answers is a standby' WHERE pg_is_in_recovery()",
        _BOTH,
    ),
    Look(
        "fence",
        """
SELECT CASE
    WHEN f.tenant_id IS NULL THEN 'it has no fence there'
    WHEN f.move_id IS NOT NULL THEN format('its fence is held by attempt %%s of a move', f.move_id)
    ELSE format('its fence is %%s, of place %%s in epoch %%s', f.state, f.place, f.epoch) END
FROM (VALUES (1)) AS one LEFT JOIN tiergate.fence AS f ON f.tenant_id = %(tenant)s
WHERE f.tenant_id IS NULL OR f.move_id IS NOT NULL OR (f.place, f.epoch) <> (%(place)s, %(epoch)s)
    OR f.state NOT IN ('active', 'read_only', 'suspended')""",
    ),
    # A tombstone stays, of an earlier move, an attempt that was put off, or a deletion: it gives way.
    Look(
        "fence",
        """
SELECT format('the target has a tenant of that name: its fence is %%s, in epoch %%s', state, epoch)
FROM tiergate.fence WHERE tenant_id = %(tenant)s AND state NOT IN ('moved', 'deleted')""",
        _TARGET,
    ),
    Look(
        "leftovers",
        "SELECT format('tiergate.import_guard has a row of it, of move %%s', move_id)"
        " FROM tiergate.import_guard WHERE tenant_id = %(tenant)s",
        _BOTH,
    ),
    Look(
        "no-primary-key",
        f"SELECT format('table %%I', relname) FROM pg_class AS c WHERE {_TABLES}"  # noqa: S608 - a constant
        " AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)",
    ),
    Look(
        "no-tenant-column",
        f"SELECT format('table %%I', relname) FROM pg_class AS c WHERE {_TABLES}"  # noqa: S608 - a constant
        " AND NOT EXISTS ("
        "SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id' AND attnotnull)",
    ),
    Look(
        "inherited",
        "SELECT format('table %%I inherits from %%s', c.relname, inhparent::regclass)"  # noqa: S608 - a constant
        f" FROM pg_class AS c JOIN pg_inherits ON inhrelid = c.oid WHERE {_TABLES}",
    ),
    Look(
        "outside-key",
        """
SELECT format('foreign key %%I leads from %%s to %%s', conname, conrelid::regclass, confrelid::regclass)
FROM pg_constraint JOIN pg_class AS here ON here.oid = conrelid JOIN pg_class AS far ON far.oid = confrelid
WHERE contype = 'f' AND here.relnamespace <> far.relnamespace
    AND to_regnamespace(%(schema)s) IN (here.relnamespace, far.relnamespace)""",
    ),
    Look(
        "unlogged",
        f"SELECT format('table %%I', relname) FROM pg_class AS c WHERE {_TABLES}"  # noqa: S608 - a constant
        " AND relpersistence = 'u'",
    ),
    Look(
        "always-fires",
        """
SELECT format('trigger %%I of table %%s', tgname, c.oid::regclass)
FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND NOT tgisinternal AND tgenabled IN ('A', 'R')
    AND tgfoid NOT IN (SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('tiergate_moves'))
UNION ALL
SELECT format('rule %%I of table %%s', rulename, c.oid::regclass)
FROM pg_rewrite JOIN pg_class AS c ON c.oid = ev_class
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
    AND ev_enabled IN ('A', 'R')""",
    ),
    # The mover is a superuser: what runs a row's text would run it in that name. A call is in the catalog,
    # or in a body, which has to name what it calls: whatever it might name counts.
    Look(
        "runs-text",
        r"""
WITH RECURSIVE needs (classid, objid) AS (
    SELECT 'pg_constraint'::regclass::oid, oid FROM pg_constraint
        WHERE connamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef AS d JOIN pg_class AS c ON c.oid = adrelid
        JOIN pg_attribute ON (attrelid, attnum) = (adrelid, adnum)
        WHERE relnamespace = to_regnamespace(%(schema)s) AND attgenerated <> ''
), calls (classid, objid, called) AS (
    SELECT classid, objid, coalesce(oprcode, refobjid) FROM pg_depend
    LEFT JOIN pg_operator AS o ON refclassid = 'pg_operator'::regclass AND o.oid = refobjid
    WHERE refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
), reached (oid) AS (
    SELECT called::oid FROM calls JOIN needs USING (classid, objid)
    UNION SELECT p.oid FROM reached JOIN pg_proc AS by ON by.oid = reached.oid
        JOIN pg_proc AS p ON p.pronamespace = to_regnamespace(%(schema)s)
            AND strpos(lower(by.prosrc), lower(p.proname)) > 0
            OR (by.oid, p.oid) IN (SELECT objid, called FROM calls WHERE classid = 'pg_proc'::regclass)
)
SELECT format('function %%s', p.oid::regprocedure)
FROM pg_proc AS p JOIN reached USING (oid) JOIN pg_language AS l ON l.oid = prolang
WHERE p.pronamespace <> 'pg_catalog'::regnamespace AND p.prorettype <> 'trigger'::regtype
    AND (lanname = 'plpgsql' AND prosrc ~* '\mexecute\M'
        OR lanname NOT IN ('sql', 'plpgsql', 'internal', 'c'))
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')""",
    ),
    Look(
        "large-objects",
        "SELECT format('%%s large objects of login %%s', count(*), %(login)s::text)"
        " FROM pg_largeobject_metadata WHERE lomowner = to_regrole(%(login)s) HAVING count(*) > 0",
        tiers=frozenset({Tier.PREMIUM}),
    ),
    Look(
        "large-objects",
        "SELECT format('%%s large objects', count(*)) FROM pg_largeobject_metadata HAVING count(*) > 0",
        tiers=frozenset({Tier.GOVERNMENT}),
    ),
    Look(
        "own-objects",
        # Whatever is in a schema depends on it: tables, functions, types, operators, …
        """
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(quote_ident(%(own)s))
    AND deptype = 'n'""",
        tiers=_OWN_PLACE,
    ),
    Look(
        "other-objects",
        """
SELECT format('table %%s', c.oid::regclass) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'm', 'f') AND NOT relispartition AND nspname !~ '^pg_'
    AND nspname NOT IN (%(bare_schema)s, %(own)s, 'tiergate', 'tiergate_moves', 'information_schema')
    AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')""",
        tiers=frozenset({Tier.GOVERNMENT}),
    ),
    Look(
        "publications",
        "SELECT format('publication %%I has table %%I', pubname, tablename)"
        " FROM pg_publication_tables WHERE schemaname = %(bare_schema)s",
    ),
    # They have no process. The tenant's lock keeps the cut-over out, a table's its triggers.
    Look(
        "prepared-transactions",
        """
SELECT format('prepared transaction %%s of %%s, since %%s', gid, owner, prepared)
FROM pg_prepared_xacts WHERE database = current_database() AND EXISTS (
    SELECT FROM pg_locks AS l LEFT JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.pid IS NULL AND l.virtualtransaction IN (
            SELECT own.virtualtransaction FROM pg_locks AS own
            WHERE own.pid IS NULL AND own.locktype = 'transactionid' AND own.transactionid = transaction)
        AND (c.relnamespace = to_regnamespace(%(schema)s) AND l.mode <> 'AccessShareLock'
            OR l.locktype = 'advisory' AND l.classid = %(locks)s
                AND l.objid::bigint = hashtext(%(tenant)s)::bigint & 4294967295))""",
    ),
    Look(
        "long-transactions",
        """
SELECT format('process %%s (%%s) has been in a transaction for %%s s, and holds %%s', a.pid, a.usename,
    round(extract(epoch FROM clock_timestamp() - a.xact_start)),
    string_agg(DISTINCT CASE l.locktype WHEN 'advisory' THEN 'the tenant''s lock' ELSE c.relname END, ', '))
FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid LEFT JOIN pg_class AS c ON c.oid = l.relation
WHERE clock_timestamp() - a.xact_start > make_interval(secs => %(long_s)s) AND a.datname = current_database()
    AND (c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
            AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
        OR l.locktype = 'advisory' AND l.classid = %(locks)s
            AND l.objid::bigint = hashtext(%(tenant)s)::bigint & 4294967295)
GROUP BY a.pid, a.usename, a.xact_start""",
    ),
)


def facts_of(placement: Placement) -> dict[str, object]:
    """What the questions name, for a tenant at one place."""
    place = placement.place
    return {
        "tenant": placement.tenant, "place": place.id, "epoch": placement.epoch,
        "schema": quote_identifier(place.schema), "bare_schema": place.schema, "own": own_schema(place),
        "login": quote_identifier(place.login), "locks": TENANT_LOCKS, "long_s": LONG_S,
    }  # fmt: skip


SIZES = """
SELECT c.relname, c.oid::regclass::text, greatest(c.reltuples, 0)::bigint,
    coalesce((SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree(c.oid)),
        pg_total_relation_size(c.oid))
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id' AND NOT attisdropped)
ORDER BY c.relname
"""

# What the application's tables, functions and constraints need that an extension brings.
EXTENSIONS = """
WITH brought AS (
    SELECT d.classid, d.objid, e.extname, e.extversion
    FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), ours (classid, objid) AS (
    SELECT 'pg_class'::regclass::oid, oid FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
        WHERE connamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef AS d JOIN pg_class AS c ON c.oid = adrelid
        WHERE relnamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = ev_class
        WHERE relnamespace = to_regnamespace(%(schema)s)
)
SELECT DISTINCT extname, extversion FROM pg_depend AS d
JOIN ours ON (d.classid, d.objid) = (ours.classid, ours.objid)
JOIN brought ON (d.refclassid, d.refobjid) = (brought.classid, brought.objid)
"""

SERVER = """
SELECT (SELECT system_identifier FROM pg_control_system()), d.oid::bigint, d.datlocprovider::text,
    d.datcollate, d.datctype, d.datcollversion,
    current_setting('max_locks_per_transaction')::integer
        * (current_setting('max_connections')::integer
            + current_setting('max_prepared_transactions')::integer),
    current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::integer,
    (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s)
        AND relkind IN ('r', 'p', 'i', 'I', 'S'))::integer
FROM pg_database AS d WHERE d.datname = %(database)s
"""
