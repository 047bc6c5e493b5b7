-- What each database with tenants' rows carries: schema tiergate, the hardened catalog, and nothing that undoes them.

-- @ function-differs database failed
-- A function of schema tiergate is missing, or is not the one that this version lays: its body, owner or attributes are others.
-- Next: find out who changed it; `tiergate cluster add` lays it anew, for a government tenant `tiergate tenant create`.
SELECT NULL, format('tiergate.%%s', meant.name), concat_ws('; ',
    CASE WHEN p.oid IS NULL THEN 'it is missing' END,
    CASE WHEN md5(prosrc) <> meant.body THEN 'its body is another' END,
    CASE WHEN proowner <> to_regrole('tiergate_context') THEN 'its owner is ' || proowner::regrole END,
    CASE WHEN prosecdef <> meant.definer THEN CASE WHEN prosecdef THEN 'it is' ELSE 'it is not' END || ' SECURITY DEFINER' END,
    CASE WHEN provolatile <> meant.volatility::"char" OR proparallel <> meant.parallel::"char" THEN 'it is volatile or parallel otherwise' END,
    CASE WHEN array_to_string(proconfig, E'\n') IS DISTINCT FROM meant.settings THEN 'its settings are others' END)
FROM unnest(%(function_names)s::text[], %(function_bodies)s::text[], %(function_definers)s::boolean[],
    %(function_volatilities)s::text[], %(function_parallels)s::text[], %(function_settings)s::text[])
    AS meant (name, body, definer, volatility, parallel, settings)
LEFT JOIN pg_proc AS p ON proname = meant.name AND pronamespace = to_regnamespace('tiergate')
WHERE p.oid IS NULL OR md5(prosrc) <> meant.body OR proowner <> to_regrole('tiergate_context') OR prosecdef <> meant.definer
    OR provolatile <> meant.volatility::"char" OR proparallel <> meant.parallel::"char"
    OR array_to_string(proconfig, E'\n') IS DISTINCT FROM meant.settings

-- @ function-unexpected database failed
-- Schema tiergate holds a function that this version does not lay.
-- Next: find out who made it, then drop it.
SELECT NULL, p.oid::regprocedure::text, CASE WHEN proname = ANY (%(function_names)s) THEN 'it has arguments of its own' ELSE 'nobody asked for it' END
FROM pg_proc AS p WHERE pronamespace = to_regnamespace('tiergate')
    AND (proname <> ALL (%(function_names)s) OR EXISTS (
        SELECT FROM pg_proc AS q WHERE q.pronamespace = p.pronamespace AND q.proname = p.proname AND q.oid < p.oid))

-- @ function-open database failed
-- Somebody may call a function of schema tiergate who should not.
-- Next: REVOKE EXECUTE ON FUNCTION … FROM ….
SELECT NULL, p.oid::regprocedure::text, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END || ' may call it'
FROM pg_proc AS p, aclexplode(coalesce(proacl, acldefault('f', proowner)))
WHERE pronamespace = to_regnamespace('tiergate') AND grantee NOT IN (proowner, coalesce(to_regrole('tiergate_owner'), 0))
    AND NOT (proname = 'tenant' AND grantee IN (SELECT oid FROM role WHERE oid IS NOT NULL))
    AND NOT (proname = 'enter' AND grantee IN (
        SELECT oid FROM role WHERE oid IS NOT NULL AND (is_login OR name = 'tiergate_premium')))

-- @ definer-function database failed
-- A function outside schema tiergate runs with its owner's rights, whoever calls it.
-- Next: ALTER FUNCTION … SECURITY INVOKER, or drop it.
SELECT (SELECT id FROM place WHERE nsp = pronamespace LIMIT 1), p.oid::regprocedure::text, 'it runs as ' || proowner::regrole
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
WHERE prosecdef AND nspname NOT IN ('pg_catalog', 'information_schema', 'tiergate') AND nspname NOT LIKE 'pg\_temp%%'
    AND NOT EXISTS (SELECT FROM place WHERE own_schema = nspname AND login_oid = proowner)
    -- What logs a moving tenant's changes; nobody else may make anything there.
    AND NOT (nspname = 'tiergate_moves' AND proowner = to_regrole('tiergate_context'))

-- @ key-readable database failed
-- Somebody besides tiergate_context may read or change the keys that tokens are signed with, or the secret that seals contexts: they can forge any tenant's.
-- Next: REVOKE ALL ON … FROM …, then change the keys and the secret.
SELECT NULL, 'tiergate.' || relname, format('%%s has %%s', who, string_agg(DISTINCT privilege_type, ', '))
FROM internal WHERE relname IN ('context_key', 'seal') GROUP BY relname, who

-- @ internal-grant database failed
-- Somebody besides tiergate_context may read or change a table of schema tiergate.
-- Next: REVOKE ALL ON … FROM ….
SELECT NULL, 'tiergate.' || relname, format('%%s has %%s', who, string_agg(DISTINCT privilege_type, ', '))
FROM internal WHERE relname NOT IN ('context_key', 'seal') GROUP BY relname, who

-- @ catalog-writable database failed
-- Somebody may do more with a system catalog than read it.
-- Next: REVOKE … ON pg_catalog.… FROM …; `tiergate cluster add` does it for PUBLIC.
SELECT NULL, c.oid::regclass::text, format('%%s has %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type)
FROM pg_class AS c, aclexplode(relacl)
WHERE relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND privilege_type <> 'SELECT'
    AND (grantee = 0 OR grantee IN (SELECT oid FROM role))

-- @ catalog-granted database failed
-- A login or a group of tiergate's may call a system function, or read a catalog, that was taken from PUBLIC.
-- Next: REVOKE … FROM …, as the finding names them.
SELECT place, name, format('it may call %%s', p.oid::regprocedure)
FROM pg_proc AS p, aclexplode(proacl) JOIN role ON role.oid = grantee
WHERE pronamespace = 'pg_catalog'::regnamespace
    AND NOT (proname = 'set_config' AND (name IN ('tiergate_owner', 'tiergate_context') OR is_login AND %(tier)s = 'standard'))
    AND NOT (proname = 'nextval' AND name = 'tiergate_owner')
    AND NOT (proname LIKE 'pg\_advisory\_xact\_lock%%' AND name = 'tiergate_context')
UNION ALL
SELECT place, name, format('it has %%s on %%s', privilege_type, c.oid::regclass)
FROM pg_class AS c, aclexplode(relacl) JOIN role ON role.oid = grantee
WHERE relnamespace = 'pg_catalog'::regnamespace AND privilege_type = 'SELECT'

-- @ language-open database failed
-- Somebody besides the owners may write code on the spot: DO blocks and functions.
-- Next: REVOKE USAGE ON LANGUAGE … FROM …; `tiergate cluster add` does it for PUBLIC.
SELECT place, lanname, coalesce(name, 'PUBLIC') || ' may use it'
FROM pg_language, aclexplode(coalesce(lanacl, acldefault('l', lanowner))) LEFT JOIN role ON role.oid = grantee
WHERE lanpltrusted AND (grantee = 0 OR name NOT IN ('tiergate_owner', 'tiergate_context') AND NOT (is_login AND %(full)s))

-- @ schema-open database failed
-- PUBLIC may use a schema of tiergate's or public, or somebody may make objects in a schema.
-- Next: REVOKE ALL ON SCHEMA … FROM …; where all of SQL was allowed until now, `tiergate tenant create` again takes it back.
SELECT (SELECT id FROM place WHERE nsp = n.oid LIMIT 1), nspname,
    format('%%s has %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type)
FROM pg_namespace AS n, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
WHERE nspname NOT LIKE 'pg\_%%' AND grantee <> nspowner AND (
    grantee = 0 AND (privilege_type = 'CREATE' OR nspname IN ('tiergate', 'public') OR n.oid IN (SELECT nsp FROM place))
    OR privilege_type = 'CREATE' AND grantee IN (SELECT oid FROM role)
        AND NOT (%(full)s AND EXISTS (SELECT FROM place WHERE own_schema = nspname AND login_oid = grantee)))

-- @ default-privileges database failed
-- Whatever somebody makes from now on is open to PUBLIC or to a role of tiergate's.
-- Next: ALTER DEFAULT PRIVILEGES FOR ROLE … [IN SCHEMA …] REVOKE … FROM ….
SELECT (SELECT id FROM place WHERE nsp = defaclnamespace LIMIT 1),
    format('what %%s makes%%s', defaclrole::regrole, CASE WHEN defaclnamespace <> 0 THEN ' in schema ' || defaclnamespace::regnamespace END),
    format('%%s gets %%s on %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
        string_agg(privilege_type, ', '), CASE defaclobjtype
        WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END)
FROM pg_default_acl, aclexplode(defaclacl)
WHERE grantee <> defaclrole AND (grantee = 0 OR grantee IN (SELECT oid FROM role))
GROUP BY defaclnamespace, defaclrole, defaclobjtype, grantee

-- @ relation-outside database failed
-- A relation outside the tenants' schemas is open to PUBLIC or to a role of tiergate's; no policy is checked there.
-- Next: REVOKE ALL ON … FROM …, or move it to another database.
SELECT NULL, c.oid::regclass::text, format('%%s has %%s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
    string_agg(DISTINCT privilege_type, ', '))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace, LATERAL (
    SELECT grantee, privilege_type FROM aclexplode(relacl) UNION
    SELECT grantee, privilege_type FROM pg_attribute, aclexplode(attacl) WHERE attrelid = c.oid) AS acl
WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'tiergate') AND nspname NOT LIKE 'pg\_t%%'
    AND nspname <> ALL (%(schemas_known)s) AND (grantee = 0 OR grantee IN (SELECT oid FROM role))
GROUP BY c.oid, grantee

-- @ fence-missing database failed
-- A tenant that the registry serves from here has no fence: its requests are refused.
-- Next: look for a move or a restore that was cut short; the registry and this database must be of one time.
SELECT place, tenant, 'the registry says ' || state FROM placed
WHERE state NOT IN ('creating', 'deleting') AND NOT EXISTS (SELECT FROM tiergate.fence WHERE tenant_id = tenant)

-- @ fence-differs database failed
-- A tenant's fence says another place, epoch or state than the registry.
-- Next: `tiergate tenant suspend` or `resume` puts the state right; place or epoch differ after a restore of one of the two.
SELECT placed.place, tenant, format('the fence says %%s, place %%s, epoch %%s; the registry says %%s, place %%s, epoch %%s',
    f.state, f.place, f.epoch, placed.state, placed.place, placed.epoch)
FROM placed JOIN tiergate.fence AS f ON tenant_id = tenant
WHERE (f.place, f.epoch) IS DISTINCT FROM (placed.place, placed.epoch)
    OR f.state <> placed.state AND placed.state NOT IN ('creating', 'deleting') AND NOT (f.state = 'read_only' AND placed.state = 'active')

-- @ fence-unknown database failed
-- A fence lets in a tenant that the registry does not place here.
-- Next: look for a restore of an older registry; if the tenant is gone, UPDATE tiergate.fence SET state = 'deleted' for it.
SELECT (SELECT id FROM place WHERE id = f.place), tenant_id, format('it is %%s, in place %%s', f.state, f.place)
FROM tiergate.fence AS f
WHERE state NOT IN ('moved', 'deleted') AND %(whole)s AND NOT EXISTS (SELECT FROM placed WHERE tenant = tenant_id)

-- @ data-plane-changed database failed
-- Schema tiergate or the hardened catalog is not in the state in which this version left it.
-- Next: look at the other findings, which may name what; `tiergate cluster add` with the same address lays it anew, for a government tenant `tiergate tenant create`.

-- @ catalog-open database failed
-- PUBLIC may call a system function, or read a catalog, by which one tenant disturbs another or learns of it.
-- Next: REVOKE … FROM PUBLIC, or have it laid anew: `tiergate cluster add`, for a government tenant `tiergate tenant create`.

-- @ key-differs database failed
-- The database knows no key, or another key, under the number that the registry gives.
-- Next: was secrets.master_key changed, or one of the two restored? Until they agree every request is refused.

-- @ key-unknown database failed
-- The database takes contexts that are signed with a key which is not ours.
-- Next: DELETE FROM tiergate.context_key for that number at once, then find out who put it there.

-- @ look-failed database failed
-- A query of ours failed, so nobody has looked there.
-- Next: mend what the finding says, then run verify again.
