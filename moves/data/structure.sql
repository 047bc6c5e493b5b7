-- How the tables of one schema are built, a line a thing. Run with that schema in the search path, so that
-- its name is not printed; every function is pg_catalog's by name, since the schema could hold its like.
WITH named AS (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relpartbound
    FROM pg_class AS c
    WHERE c.relnamespace = pg_catalog.to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
)
SELECT pg_catalog.concat_ws(' ', 'table', relname, relkind, relpersistence, relispartition,
    pg_catalog.pg_get_partkeydef(oid), pg_catalog.pg_get_expr(relpartbound, oid, true),
    (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = named.oid LIMIT 1))
FROM named
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'column', relname, attname, pg_catalog.format_type(atttypid, atttypmod),
    attnotnull, attidentity, attgenerated, collname, collprovider, collisdeterministic,
    pg_catalog.pg_get_expr(adbin, adrelid, true))
FROM named JOIN pg_attribute ON attrelid = named.oid
LEFT JOIN pg_collation AS l ON l.oid = attcollation
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'index', relname, indisvalid, pg_catalog.pg_get_indexdef(indexrelid, 0, true))
FROM named JOIN pg_index ON indrelid = named.oid
UNION ALL
-- PostgreSQL 18 lists NOT NULL here too; attnotnull says it for all versions. On partitions, each version
-- keeps its own clones of foreign keys, which follow from the parent's.
SELECT pg_catalog.concat_ws(' ', 'constraint', relname, conname, convalidated, pg_catalog.pg_get_constraintdef(c.oid, true))
FROM named JOIN pg_constraint AS c ON conrelid = named.oid
WHERE contype <> 'n' AND conparentid = 0
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'trigger', relname, tgenabled, pg_catalog.pg_get_triggerdef(t.oid, true))
FROM named JOIN pg_trigger AS t ON tgrelid = named.oid JOIN pg_proc AS p ON p.oid = tgfoid
WHERE NOT tgisinternal AND pronamespace <> 'tiergate_moves'::regnamespace
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'rule', relname, ev_enabled, pg_catalog.pg_get_ruledef(r.oid, true))
FROM named JOIN pg_rewrite AS r ON ev_class = named.oid
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'type', typname, typtype, typnotnull, typdefault,
    CASE typtype WHEN 'd' THEN pg_catalog.format_type(typbasetype, typtypmod) END,
    (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(enumlabel), ',' ORDER BY enumsortorder)
     FROM pg_enum WHERE enumtypid = t.oid),
    (SELECT pg_catalog.string_agg(attname || ' ' || pg_catalog.format_type(atttypid, atttypmod), ',' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped),
    (SELECT pg_catalog.string_agg(conname || ' ' || pg_catalog.pg_get_constraintdef(c.oid, true), ',' ORDER BY conname)
     FROM pg_constraint AS c WHERE contypid = t.oid AND contype <> 'n'))
FROM pg_type AS t
WHERE typnamespace = pg_catalog.to_regnamespace(%(schema)s) AND typtype IN ('d', 'e', 'r', 'c')
    AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = typrelid AND c.relkind <> 'c')
