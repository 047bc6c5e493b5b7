r"""The questions behind `\d`: what tables a tenant has, and what one of them looks like."""

TABLES = """
SELECT c.relname AS "table",
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                      WHEN 'f' THEN 'foreign table' END AS "kind",
       n.nspname AS "schema",
       CASE WHEN c.relrowsecurity AND c.relforcerowsecurity THEN 'forced'
            WHEN c.relrowsecurity THEN 'enabled'
            WHEN c.relkind IN ('r', 'p') THEN 'none' ELSE '' END AS "row security"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname = current_schema()
ORDER BY 1
"""

COLUMNS = """
SELECT a.attname AS "column",
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS "type",
       CASE WHEN a.attnotnull THEN 'not null' ELSE '' END AS "nullable",
       CASE WHEN a.attidentity <> '' THEN 'identity'
            WHEN a.attgenerated <> '' THEN 'generated as ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
            ELSE COALESCE(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') END AS "default"
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

INDEXES = """
SELECT c.relname AS "index", pg_catalog.pg_get_indexdef(i.indexrelid) AS "definition"
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass($1)
ORDER BY NOT i.indisprimary, NOT i.indisunique, 1
"""

CONSTRAINTS = """
SELECT conname AS "constraint", pg_catalog.pg_get_constraintdef(oid) AS "definition"
FROM pg_catalog.pg_constraint
WHERE conrelid = pg_catalog.to_regclass($1) AND contype IN ('f', 'c', 'x')
ORDER BY contype DESC, 1
"""

DETAILS = (INDEXES, CONSTRAINTS)
"""Shown after the columns, where they say anything."""
