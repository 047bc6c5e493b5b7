-- What every query of a look may name: what should be there, as the registry tells it, and what is.
--
-- house: a database of ours and who alone may enter it · place: schemas with tenants' tables in this database (in a look
-- at a server: on the whole server) · role: the roles that work there · across: those of the door
-- across tenants · placed: the tenants that the registry places here ·
-- own: relations in places' schemas · granted: rights on those · internal: rights on the relations of schema tiergate.
WITH house (database, place, admitted) AS (
    SELECT * FROM unnest(%(house_databases)s::text[], %(house_places)s::text[], %(house_admitted)s::text[])
), place AS (
    SELECT *, to_regnamespace(quote_ident(schema)) AS nsp,
        to_regrole(quote_ident(login)) AS login_oid, to_regrole(quote_ident(serves)) AS serves_oid
    FROM unnest(%(ids)s::text[], %(databases)s::text[], %(schemas)s::text[], %(own_schemas)s::text[], %(logins)s::text[],
        %(serve)s::text[]) AS given (id, database, schema, own_schema, login, serves)
), role AS (
    SELECT name, place, is_login, to_regrole(quote_ident(name)) AS oid FROM (
        SELECT name, NULL AS place, false AS is_login FROM unnest(%(groups)s::text[]) AS name
        UNION ALL SELECT login, min(id), true FROM place GROUP BY login) AS given
), across (name, oid, rights, column_rights) AS ( -- the door across tenants; its roles come to be with its first use
    SELECT name, to_regrole(name), rights, column_rights FROM (VALUES
        ('tiergate_across', '{SELECT}'::text[], '{}'::text[]),
        ('tiergate_across_write', '{SELECT,INSERT,DELETE}', '{UPDATE}')) AS meant (name, rights, column_rights)
    WHERE to_regrole(name) IS NOT NULL
), placed AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(tenant_places)s::text[], %(tenant_epochs)s::bigint[], %(tenant_states)s::text[])
        AS given (tenant, place, epoch, state)
), own AS (
    SELECT id, serves, serves_oid, c.oid AS rel, relname, relkind, relowner, relrowsecurity, relforcerowsecurity, reloptions, relacl
    FROM place JOIN pg_class AS c ON relnamespace = nsp WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), granted AS (
    SELECT own.*, NULL::smallint AS attnum, NULL::name AS attname, '' AS column_, acl.* FROM own, aclexplode(relacl) AS acl
    UNION ALL
    SELECT own.*, a.attnum, a.attname, format(' (%%I)', a.attname), acl.*
    FROM own JOIN pg_attribute AS a ON attrelid = rel AND NOT attisdropped, aclexplode(attacl) AS acl
), internal AS (
    SELECT relname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who, privilege_type
    FROM pg_class AS c, LATERAL (
        SELECT grantee, privilege_type FROM aclexplode(relacl) UNION
        SELECT grantee, privilege_type FROM pg_attribute, aclexplode(attacl) WHERE attrelid = c.oid UNION
        SELECT relowner, 'ownership') AS acl
    WHERE relnamespace = to_regnamespace('tiergate') AND relkind NOT IN ('i', 'I', 't')
        AND grantee IS DISTINCT FROM to_regrole('tiergate_context')
)
