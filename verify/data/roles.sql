-- Who there is on the server, what they are, and who may act as whom.

-- @ role-missing server failed
-- A role that tiergate works with is gone.
-- Next: `tiergate cluster add` with the same address makes shared roles again; a tenant's own login comes back from a backup of roles.
SELECT place, name, 'it does not exist' FROM role WHERE oid IS NULL

-- @ role-powerful server failed
-- A role of tiergate's can do more than a request ever may: it is a superuser, passes row-level security, or makes roles or databases.
-- Next: ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION, then look at who changed it.
SELECT place, name, concat_ws(', ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolreplication THEN 'REPLICATION' END)
FROM role JOIN pg_roles AS r USING (oid)
WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication

-- @ role-bypasses server failed
-- A role that is no superuser passes row-level security: whoever has it reads every tenant's rows that it has grants on.
-- Next: ALTER ROLE … NOBYPASSRLS, or drop the role.
SELECT NULL, rolname, 'it has BYPASSRLS' FROM pg_roles
WHERE rolbypassrls AND NOT rolsuper AND rolname NOT IN (SELECT name FROM role UNION ALL SELECT name FROM across)

-- @ across-reachable server failed
-- A role of the door across tenants can be logged in as, can be become, or can do more than read or change rows.
-- Next: REVOKE … FROM …, and ALTER ROLE … NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION; then look at who changed it.
SELECT NULL, name, concat_ws(', ', CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolsuper THEN 'SUPERUSER' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolreplication THEN 'REPLICATION' END,
    (SELECT string_agg(format('%%s is a member of %%s', member::regrole, roleid::regrole), ', ')
     FROM pg_auth_members WHERE across.oid IN (member, roleid)))
FROM across JOIN pg_roles AS r USING (oid)
WHERE rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
    OR EXISTS (SELECT FROM pg_auth_members WHERE across.oid IN (member, roleid))

-- @ owner-can-login server failed
-- A role that owns tables or keys, or that requests only become, can be logged in as.
-- Next: ALTER ROLE … NOLOGIN; `tiergate cluster add` does it, too.
SELECT place, name, 'it has LOGIN' FROM role JOIN pg_roles AS r USING (oid) WHERE NOT is_login AND rolcanlogin

-- @ login-inherits server failed
-- The login that standard tenants share has the rights on tables by itself, not for one transaction only.
-- Next: `tiergate cluster add` with the same address puts it right.
SELECT place, name, 'it inherits what ' || %(group)s::text || ' may do' FROM role JOIN pg_roles AS r USING (oid)
WHERE is_login AND %(tier)s = 'standard' AND (rolinherit OR EXISTS (
    SELECT FROM pg_auth_members AS m WHERE member = r.oid AND to_jsonb(m) ->> 'inherit_option' = 'true'))

-- @ context-has-members server failed
-- Somebody may act as tiergate_context, and so read the keys that sign contexts.
-- Next: REVOKE tiergate_context FROM …, then rotate the context keys.
SELECT NULL, member::regrole::text, 'it is a member of tiergate_context'
FROM pg_auth_members WHERE roleid = to_regrole('tiergate_context')

-- @ membership-unexpected server failed
-- A role of tiergate's is a member of another role, or has members, beyond what provisioning made.
-- Next: REVOKE … FROM …, as the finding names them.
SELECT coalesce(inner_.place, outer_.place), member::regrole::text, format('it is a member of %%s%%s', roleid::regrole,
    CASE WHEN admin_option THEN ' WITH ADMIN OPTION' END)
FROM pg_auth_members AS m
LEFT JOIN role AS inner_ ON inner_.oid = member
LEFT JOIN role AS outer_ ON outer_.oid = roleid
WHERE (inner_.oid IS NOT NULL OR outer_.oid IS NOT NULL) AND roleid IS DISTINCT FROM to_regrole('tiergate_context')
    AND (admin_option OR outer_.name IS NULL OR outer_.name NOT IN ('tiergate_app', 'tiergate_premium')
        OR member::regrole::text <> ALL (SELECT quote_ident(known) FROM unnest(%(known)s::text[]) AS known))

-- @ reads-all-data server warning
-- A role that is no superuser may read or write every table, the keys too.
-- Next: take pg_read_all_data or pg_write_all_data from it, or treat it as a superuser.
SELECT NULL, member::regrole::text, format('it is a member of %%s', roleid::regrole)
FROM pg_auth_members JOIN pg_roles AS r ON r.oid = member
WHERE roleid IN (to_regrole('pg_read_all_data'), to_regrole('pg_write_all_data')) AND NOT rolsuper

-- @ setting-missing server failed
-- Sessions of a login do not begin with the limits and formats that they should.
-- Next: `tiergate cluster add` mends a shared login; for another: ALTER ROLE … IN DATABASE … SET ….
SELECT place.id, format('%%s in database %%s', place.login, place.database), wanted || ' is not set'
FROM place, LATERAL (
    SELECT unnest(%(settings)s::text[]) UNION ALL SELECT format('search_path=%%I, pg_temp', place.schema)) AS s (wanted)
WHERE login_oid IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase, unnest(setconfig) AS is_set
    WHERE setrole = login_oid AND datname = place.database AND (lower(is_set) = lower(wanted)
        -- Where all of SQL may be run, or could be once.
        OR wanted LIKE 'search\_path=%%' AND is_set = format('search_path=%%I, %%I, pg_temp', own_schema, place.schema)))

-- @ setting-unexpected server failed
-- A role of tiergate's begins its sessions with a setting that provisioning did not make.
-- Next: ALTER ROLE … [IN DATABASE …] RESET ….
SELECT place, format('%%s in database %%s', name, coalesce(datname, 'any')), is_set
FROM role JOIN pg_db_role_setting ON setrole = oid LEFT JOIN pg_database AS d ON d.oid = setdatabase,
    unnest(setconfig) AS is_set
WHERE NOT (is_login AND lower(split_part(is_set, '=', 1)) = ANY (
    SELECT lower(split_part(wanted, '=', 1)) FROM unnest(%(settings)s::text[] || '{search_path=}'::text[]) AS wanted))

-- @ login-password server failed
-- A login has another password than the registry: its requests fail, or somebody else has set one.
-- Next: `tiergate cluster add` puts the shared login's right, `tiergate tenant create` a tenant's; find out who changed it.
