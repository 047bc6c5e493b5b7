-- The server's databases and settings.

-- @ database-open server failed
-- PUBLIC may connect to a database of tiergate's, or make temporary tables in it: every login of the server may come in.
-- Next: REVOKE ALL ON DATABASE … FROM PUBLIC; `tiergate cluster add` does it for shared databases.
SELECT (SELECT id FROM place WHERE database = datname LIMIT 1), datname, string_agg(privilege_type, ', ' ORDER BY privilege_type)
FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
WHERE grantee = 0 AND (datname IN ('postgres', 'template1') OR datname IN (SELECT database FROM house))
GROUP BY datname

-- @ database-strangers server failed
-- A role may enter a database that is not its own, or do more there than connect.
-- Next: REVOKE … ON DATABASE … FROM ….
SELECT house.place, datname, format('%%s has %%s', grantee::regrole, string_agg(privilege_type, ', ' ORDER BY privilege_type))
FROM house JOIN pg_database ON datname = house.database, aclexplode(datacl)
WHERE grantee NOT IN (0, datdba) AND NOT (SELECT rolsuper FROM pg_roles AS r WHERE r.oid = grantee)
    AND NOT (privilege_type = 'CONNECT' AND NOT is_grantable AND grantee IS NOT DISTINCT FROM to_regrole(quote_ident(house.admitted)))
GROUP BY house.place, datname, grantee

-- @ other-database-open server warning
-- Another database of this server lets every login in, tenants' logins too.
-- Next: REVOKE ALL ON DATABASE … FROM PUBLIC, or move it to another server.
SELECT NULL, datname, 'PUBLIC may connect' FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
WHERE grantee = 0 AND privilege_type = 'CONNECT' AND datallowconn
    AND datname NOT IN ('postgres', 'template1') AND datname NOT IN (SELECT database FROM house)

-- @ identity-differs server failed
-- The database does not say that it is this cluster's of this registry.
-- Next: compare the registry's cluster address with the server; `tiergate cluster set-address` corrects it.
SELECT NULL, %(database)s, coalesce((SELECT format('it is that of cluster %%s', cluster) FROM tiergate.identity), 'it is nobody''s')
WHERE NOT EXISTS (SELECT FROM tiergate.identity WHERE cluster = %(cluster)s AND registry = %(registry)s)

-- @ server-setting-unsafe server failed
-- A setting of the server takes away what the isolation rests on.
-- Next: ALTER SYSTEM RESET …, then SELECT pg_reload_conf().
SELECT NULL, name, 'it is ' || reset_val FROM pg_settings
WHERE (name, reset_val) IN (('standard_conforming_strings', 'off'), ('allow_system_table_mods', 'on'), ('row_security', 'off'))

-- @ parameters-logged server warning
-- The server's log may show statements' parameters: tenants' values, and the tokens of transactions, which are good for a minute.
-- Next: set log_parameter_max_length = 0 and log_parameter_max_length_on_error = 0, or guard the log as you guard the rows.
SELECT NULL, name, 'it is ' || reset_val FROM pg_settings AS s
WHERE name = 'log_parameter_max_length_on_error' AND reset_val <> '0'
    OR name = 'log_parameter_max_length' AND reset_val <> '0' AND EXISTS (
        SELECT FROM pg_settings WHERE name = 'log_statement' AND reset_val IN ('mod', 'all')
            OR name IN ('log_min_duration_statement', 'log_min_duration_sample') AND reset_val <> '-1')

-- @ password-not-asked server warning
-- pg_hba.conf lets somebody who comes over the network log in without a password.
-- Next: write scram-sha-256 instead of trust.
SELECT NULL, format('pg_hba.conf, line %%s', line_number), format('trust for %%s from %%s', array_to_string(user_name, ', '), address)
FROM pg_hba_file_rules
WHERE auth_method = 'trust' AND type LIKE 'host%%' AND address NOT LIKE '127.%%' AND address NOT IN ('::1', 'localhost', 'samehost')

-- @ version-vulnerable server warning
-- This minor version has known holes that touch row-level security or what statistics tell (CVE-2024-10976, CVE-2025-8713).
-- Next: update to the latest minor version.
SELECT NULL, 'PostgreSQL ' || current_setting('server_version'), 'update to ' || fixed || ' or later'
FROM (VALUES (15, 150014, '15.14'), (16, 160010, '16.10'), (17, 170006, '17.6')) AS known (major, number, fixed)
WHERE current_setting('server_version_num')::integer / 10000 = major AND current_setting('server_version_num')::integer < number

-- @ cluster-silent server failed
-- A cluster or a database could not be reached or entered, so nobody has looked there.
-- Next: mend what the finding says, then run verify again.

-- @ escape try failed
-- A tenant of ours got further than it may: it saw, changed or learnt of another's row, or did what no request may do.
-- Next: run with --look-only and mend what that finds; if it finds nothing, take the cluster out of use and report it.

-- @ canary-missing try warning
-- No table of the application takes a row that could be thought of, so nothing was tried.
-- Next: nothing; the looks hold all the same. A table without foreign keys and narrow CHECKs would be tried with.

-- @ try-failed try failed
-- The two tenants that try could not be made, used or removed.
-- Next: mend what the finding says, then run verify again; it removes what this run has left behind.
