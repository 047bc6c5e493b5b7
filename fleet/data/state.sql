-- One number for what tiergate.sql and harden.sql leave behind; another one when something went missing.
--
-- Counts what our objects are, and what PUBLIC and our owners may do. Grants to logins do not count:
-- they come and go with places.

WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname = 'tiergate'
), watched AS (
    SELECT 0::oid AS role UNION ALL
    SELECT oid FROM pg_roles WHERE rolname IN ('tiergate_owner', 'tiergate_context')
), extension AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), line (said) AS (
    SELECT format('function %s %s %s %s %s %s %s', oid::regprocedure, proowner::regrole, prosecdef, provolatile,
        proparallel, proconfig, md5(prosrc))
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
        OR oid = 'information_schema._pg_char_octet_length(oid, integer)'::regprocedure
    UNION ALL
    SELECT format('column %s %s %s %s %s', attrelid::regclass, relowner::regrole, attname, atttypid::regtype, attnotnull)
    FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
    WHERE relnamespace IN (SELECT oid FROM ours) AND relkind = 'r' AND attnum > 0
    UNION ALL
    SELECT format('may %s %s %s', p.oid::regprocedure, grantee, privilege_type)
    FROM pg_proc AS p, aclexplode(coalesce(proacl, acldefault('f', proowner)))
    WHERE grantee IN (SELECT role FROM watched) AND (pronamespace IN (SELECT oid FROM ours)
        OR pronamespace = 'pg_catalog'::regnamespace
        OR p.oid IN (SELECT objid FROM extension WHERE classid = 'pg_proc'::regclass))
    UNION ALL
    SELECT format('may %s %s %s', c.oid::regclass, grantee, privilege_type)
    FROM pg_class AS c, aclexplode(relacl)
    WHERE grantee IN (SELECT role FROM watched) AND (relnamespace IN (SELECT oid FROM ours)
        OR relnamespace = 'pg_catalog'::regnamespace
        OR c.oid IN (SELECT objid FROM extension WHERE classid = 'pg_class'::regclass))
    UNION ALL
    SELECT format('may %s.%s %s %s', attrelid::regclass, attname, grantee, privilege_type)
    FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid, aclexplode(attacl)
    WHERE relnamespace = 'pg_catalog'::regnamespace AND grantee IN (SELECT role FROM watched)
    UNION ALL
    SELECT format('may language %s %s %s', lanname, grantee, privilege_type)
    FROM pg_language, aclexplode(coalesce(lanacl, acldefault('l', lanowner)))
    WHERE grantee IN (SELECT role FROM watched)
    UNION ALL
    SELECT format('may schema %s %s %s', nspname, grantee, privilege_type)
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    WHERE nspname IN ('tiergate', 'public') AND grantee IN (SELECT role FROM watched)
)
SELECT left(md5(string_agg(said, chr(10) ORDER BY said COLLATE "C")), 16) FROM line
