-- Each place's schema: its tables, the rule on them, their keys, and who may do what.

-- @ schema-missing place failed
-- A place's schema is gone, or belongs to somebody else.
-- Next: restore it from a backup; `tiergate cluster add` makes a shared one anew, without rows.
SELECT place.id, schema, CASE WHEN nsp IS NULL THEN 'it does not exist' ELSE 'it belongs to ' || nspowner::regrole END
FROM place LEFT JOIN pg_namespace AS n ON n.oid = nsp
WHERE nsp IS NULL OR nspowner IS DISTINCT FROM to_regrole('tiergate_owner')

-- @ schema-grant place failed
-- Somebody besides the role that serves a place may use its schema.
-- Next: REVOKE ALL ON SCHEMA … FROM ….
SELECT place.id, schema, format('%%s has %%s', grantee::regrole, privilege_type)
FROM place JOIN pg_namespace AS n ON n.oid = nsp, aclexplode(nspacl)
WHERE grantee NOT IN (0, nspowner) AND (grantee, privilege_type) IS DISTINCT FROM (serves_oid, 'USAGE')
    AND NOT (privilege_type = 'USAGE' AND NOT is_grantable AND grantee IN (SELECT oid FROM across))

-- @ table-owner place failed
-- A table or view belongs to a role other than tiergate_owner, which may take the rule off it.
-- Next: ALTER TABLE … OWNER TO tiergate_owner.
SELECT id, relname, 'it belongs to ' || relowner::regrole FROM own
WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relowner IS DISTINCT FROM to_regrole('tiergate_owner')

-- @ rls-disabled place failed
-- Row-level security is off for a table: its policies are not asked.
-- Next: SELECT tiergate.protect('…') as a superuser, or `tiergate cluster add` for shared tables.
SELECT id, relname, 'row-level security is disabled' FROM own WHERE relkind IN ('r', 'p') AND NOT relrowsecurity

-- @ rls-not-forced place failed
-- Row-level security does not hold for a table's owner.
-- Next: SELECT tiergate.protect('…') as a superuser, or `tiergate cluster add` for shared tables.
SELECT id, relname, 'row-level security is not forced' FROM own WHERE relkind IN ('r', 'p') AND NOT relforcerowsecurity

-- @ policy-missing place failed
-- A table lacks one of its two policies.
-- Next: SELECT tiergate.protect('…') as a superuser, or `tiergate cluster add` for shared tables.
SELECT id, relname, 'policy ' || meant || ' is missing' FROM own, unnest('{tiergate_tenant,tiergate_access}'::text[]) AS meant
WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = rel AND polname = meant)

-- @ policy-differs place failed
-- A policy has another text, kind, command or roles than the rule wants.
-- Next: SELECT tiergate.protect('…') as a superuser, which makes both policies anew.
SELECT id, relname, format('policy %%s: %%s, for %%s, USING (%%s) WITH CHECK (%%s)', polname,
    CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
    CASE polcmd WHEN '*' THEN 'all' ELSE polcmd::text END, said.using_, said.check_)
FROM own JOIN pg_policy ON polrelid = rel, LATERAL (
    SELECT pg_get_expr(polqual, rel) AS using_, pg_get_expr(polwithcheck, rel) AS check_,
        CASE polname WHEN 'tiergate_access' THEN 'true'
            ELSE '(tenant_id = ( SELECT tiergate.tenant() AS tenant))' END AS meant) AS said
WHERE polname IN ('tiergate_tenant', 'tiergate_access') AND (polpermissive <> (polname = 'tiergate_access')
    OR polcmd <> '*' OR polroles <> '{0}' OR (using_, check_) IS DISTINCT FROM (meant, meant))

-- @ policy-unexpected place failed
-- A table has a policy that is not one of the two.
-- Next: DROP POLICY … ON ….
SELECT id, relname, format('policy %%s, %%s', polname, CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END)
FROM own JOIN pg_policy ON polrelid = rel WHERE polname NOT IN ('tiergate_tenant', 'tiergate_access')

-- @ tenant-column place failed
-- A table has no column "tenant_id text NOT NULL", or one that takes different names for equal.
-- Next: mend the table; tiergate.protect('…') says what is wrong.
SELECT id, relname, 'it has no column "tenant_id text NOT NULL" with an exact collation' FROM own
WHERE relkind IN ('r', 'p') AND NOT EXISTS (
    SELECT FROM pg_attribute JOIN pg_collation AS c ON c.oid = attcollation
    WHERE attrelid = rel AND attname = 'tenant_id' AND NOT attisdropped AND atttypid = 'text'::regtype
        AND attnotnull AND collisdeterministic)

-- @ primary-key-missing place failed
-- A table has no primary key.
-- Next: ALTER TABLE … ADD PRIMARY KEY (tenant_id, …).
SELECT id, relname, 'it has no primary key' FROM own
WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = rel AND indisprimary)

-- @ unique-without-tenant place failed
-- A unique key or exclusion constraint runs over all tenants: it tells one what another has.
-- Next: make it anew with tenant_id in front.
SELECT id, relname, format('%%s does not begin with tenant_id', indexrelid::regclass)
FROM own JOIN pg_index ON indrelid = rel
LEFT JOIN pg_attribute ON attrelid = rel AND attnum = indkey[0]
LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'x'
LEFT JOIN pg_operator AS o ON o.oid = conexclop[1]
WHERE (indisunique OR indisexclusion) AND (attname IS DISTINCT FROM 'tenant_id' OR contype = 'x' AND oprname IS DISTINCT FROM '=')

-- @ foreign-key-without-tenant place failed
-- A foreign key leads from one tenant's row to another's.
-- Next: write it as FOREIGN KEY (tenant_id, …) REFERENCES … (tenant_id, …).
SELECT id, relname, format('%%I leaves the tenant', conname)
FROM own JOIN pg_constraint ON conrelid = rel AND contype = 'f'
WHERE NOT EXISTS (
    SELECT FROM unnest(conkey, confkey) AS pair (here, there)
    JOIN pg_attribute AS near ON near.attrelid = conrelid AND near.attnum = pair.here
    JOIN pg_attribute AS far ON far.attrelid = confrelid AND far.attnum = pair.there
    WHERE near.attname = 'tenant_id' AND far.attname = 'tenant_id')

-- @ index-without-tenant place warning
-- An index does not begin with tenant_id: under the policy it is rarely of use, and its timing depends on all tenants' rows.
-- Next: make it anew with tenant_id in front.
SELECT id, relname, indexrelid::regclass::text
FROM own JOIN pg_index ON indrelid = rel LEFT JOIN pg_attribute ON attrelid = rel AND attnum = indkey[0]
WHERE NOT indisunique AND NOT indisexclusion AND attname IS DISTINCT FROM 'tenant_id'

-- @ grant-public place failed
-- PUBLIC has a right on a table, a view, a sequence or a column.
-- Next: REVOKE ALL ON … FROM PUBLIC.
SELECT id, relname, 'PUBLIC has ' || string_agg(privilege_type || column_, ', ') FROM granted
WHERE grantee = 0 AND relkind <> 'S' GROUP BY id, relname

-- @ grant-excessive place failed
-- A role may do more with a table than requests need, or a role has rights that serves no request here.
-- Next: REVOKE … ON … FROM …; never TRUNCATE, REFERENCES or TRIGGER, never a right on a whole table but DELETE.
SELECT id, relname, format('%%s has %%s', grantee::regrole, string_agg(privilege_type || column_, ', '))
FROM granted
WHERE grantee NOT IN (0, relowner) AND relkind <> 'S' AND (
    grantee IS DISTINCT FROM serves_oid OR relkind NOT IN ('r', 'p', 'v') OR is_grantable
    OR attnum IS NULL AND privilege_type <> 'DELETE' OR attnum < 0
    OR attnum > 0 AND privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE'))
    AND NOT EXISTS (SELECT FROM across WHERE across.oid = grantee AND NOT is_grantable AND privilege_type = ANY (
        CASE WHEN attnum IS NULL THEN rights ELSE column_rights END))
GROUP BY id, relname, grantee

-- @ tenant-column-updatable place failed
-- A role may give a row to another tenant.
-- Next: REVOKE UPDATE (tenant_id) ON … FROM ….
SELECT id, relname, format('%%s may update tenant_id', grantee::regrole) FROM granted
WHERE attname = 'tenant_id' AND privilege_type = 'UPDATE' AND grantee NOT IN (0, relowner)

-- @ grant-missing place warning
-- The role that serves a place lacks a right that requests need: they fail, nothing leaks.
-- Next: `tiergate cluster add` puts grants on shared tables back; for another place: GRANT … ON … TO ….
SELECT id, relname, format('%%s lacks %%s (%%s)', serves, privilege, string_agg(attname, ', ' ORDER BY attnum))
FROM own JOIN pg_attribute ON attrelid = rel AND attnum > 0 AND NOT attisdropped,
    unnest('{SELECT,INSERT,UPDATE}'::text[]) AS privilege
WHERE relkind IN ('r', 'p', 'v') AND serves_oid IS NOT NULL AND NOT (privilege = 'UPDATE' AND attname = 'tenant_id')
    AND NOT has_column_privilege(serves_oid, rel, attnum, privilege)
GROUP BY id, relname, serves, privilege

-- @ sequence-grant place failed
-- A request may use a sequence, which tells each tenant how much the others do.
-- Next: REVOKE ALL ON SEQUENCE … FROM ….
SELECT id, relname, format('%%s has %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type)
FROM granted WHERE relkind = 'S' AND grantee <> relowner

-- @ view-not-invoker place failed
-- A view reads as its owner, not as the request.
-- Next: ALTER VIEW … SET (security_invoker = true).
SELECT id, relname, 'security_invoker is not set' FROM own
WHERE relkind = 'v' AND NOT coalesce(reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)

-- @ relation-without-rule place failed
-- Row-level security does not reach into a materialised view or a foreign table.
-- Next: make it a view with security_invoker, or a table.
SELECT id, relname, CASE relkind WHEN 'm' THEN 'it is a materialised view' ELSE 'it is a foreign table' END
FROM own WHERE relkind IN ('m', 'f')
