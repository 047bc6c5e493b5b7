-- Takes from PUBLIC what lets one request disturb another or learn of it.
--
-- Runs as a superuser in one transaction, any number of times, on PostgreSQL 15 to 18, in every
-- database that holds tenants' rows (catalog privileges are each database's own). What a version
-- does not have is passed over; what a later version adds and marks VOLATILE is taken away too.
-- Catalogs that describe tables, columns and types stay readable, and so does information_schema.

-- Functions. Volatile ones act on the session or the server, or tell its state: all go, but those
-- that only make values. Stable and immutable ones stay, but those that tell of other sessions,
-- of transaction ids, of addresses, sizes and files, of objects by number, or run SQL text. Functions
-- that SQL cannot call anyway (triggers, handlers, those with an argument of type "internal") are left
-- alone. Functions of extensions count as well: dblink opens connections, pg_stat_statements shows
-- others' text.
DO $$
DECLARE
    functions text;
BEGIN
    SELECT string_agg(p.oid::regprocedure::text, ', ') INTO functions
    FROM pg_catalog.pg_proc AS p
    WHERE p.prokind = 'f'
        AND (p.pronamespace = 'pg_catalog'::regnamespace OR EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))
        AND EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)))
            WHERE grantee = 0)
        AND 'internal'::regtype <> ALL (p.proargtypes::oid[])
        AND p.prorettype <> ALL (ARRAY['internal', 'trigger', 'event_trigger', 'language_handler',
            'index_am_handler', 'table_am_handler', 'tsm_handler', 'fdw_handler']::regtype[])
        AND (
            p.provolatile = 'v' AND p.proname <> ALL (ARRAY[
                'array_sample', 'array_shuffle', 'clock_timestamp', 'current_query', 'gen_random_uuid',
                'pg_is_in_recovery', 'random', 'random_normal', 'timeofday', 'uuidv4', 'uuidv7',
                -- of pgcrypto and uuid-ossp
                'gen_random_bytes', 'gen_salt', 'pgp_pub_encrypt', 'pgp_pub_encrypt_bytea', 'pgp_sym_encrypt',
                'pgp_sym_encrypt_bytea', 'uuid_generate_v1mc', 'uuid_generate_v4'])
            OR p.proname ~ '^(pg_stat_get_|pg_stat_statements|dblink|(database|schema|table|query|cursor)_to_xml)'
            OR p.proname ~ '^(lo_|pg_lo_|pg_advisory_|pg_try_advisory_|pg_file_|pg_ls_|pg_read_|pg_sleep)'
            OR p.proname = ANY (ARRAY[
                'inet_client_addr', 'inet_client_port', 'inet_server_addr', 'inet_server_port', 'lastval',
                'loread', 'lowrite', 'mxid_age', 'pg_available_extension_versions',
                'pg_available_extensions', 'pg_blocking_pids', 'pg_conf_load_time',
                'pg_current_snapshot', 'pg_current_xact_id', 'pg_current_xact_id_if_assigned', 'pg_cursor',
                'pg_describe_object', 'pg_filenode_relation', 'pg_get_publication_tables',
                'pg_get_replication_slots', 'pg_identify_object', 'pg_identify_object_as_address',
                'pg_listening_channels',
                'pg_lock_status', 'pg_mcv_list_items', 'pg_postmaster_start_time', 'pg_prepared_statement',
                'pg_relation_filenode', 'pg_relation_filepath', 'pg_tablespace_databases',
                'pg_tablespace_location', 'set_config', 'setseed', 'ts_stat', 'txid_current',
                'txid_current_if_assigned', 'txid_current_snapshot'])
            OR p.oid = 'pg_catalog.age(xid)'::regprocedure
        );
    IF functions IS NOT NULL THEN
        EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || functions || ' FROM PUBLIC';
    END IF;
END
$$;

-- What our own functions and the application's files need of it.
GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO tiergate_context, tiergate_owner;
GRANT EXECUTE ON FUNCTION pg_catalog.nextval(regclass) TO tiergate_owner;
GRANT EXECUTE ON FUNCTION
    pg_catalog.pg_advisory_xact_lock(integer, integer), pg_catalog.pg_advisory_xact_lock_shared(integer, integer),
    pg_catalog.pg_advisory_xact_lock(bigint), pg_catalog.pg_advisory_xact_lock_shared(bigint)
    TO tiergate_context;

-- Relations: sessions, locks, statistics (they hold samples of everybody's values), who else is on
-- this server, and what else is installed. Updating pg_settings is set_config in another dress.
DO $$
DECLARE
    relations text;
BEGIN
    SELECT string_agg(c.oid::regclass::text, ', ') INTO relations
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'v')
        AND (c.relnamespace = 'pg_catalog'::regnamespace OR EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
        AND c.relname ~ (
            '^pg_(stat|locks|prepared_|cursors|largeobject|replication_|shmem_|dsm_|backend_memory|wait_events|aios'
            '|buffercache|db_role_setting|roles|user|shadow|group|auth|shdep|shdesc|shsec|seclabel|database'
            '|tablespace|parameter_acl|init_privs|default_acl|foreign_|subscription|publication'
            '|available_extension|event_trigger|file_settings|hba_file|ident_file|config)')
        AND EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) WHERE grantee = 0);
    IF relations IS NOT NULL THEN
        EXECUTE 'REVOKE ALL ON ' || relations || ' FROM PUBLIC';
    END IF;
END
$$;
REVOKE UPDATE ON pg_catalog.pg_settings FROM PUBLIC;
-- information_schema.columns tells lengths in bytes, and asks for the database's encoding to do so: in the
-- superuser's name, so that nobody needs to see which databases there are. Its body is bound to pg_catalog.
ALTER FUNCTION information_schema._pg_char_octet_length(oid, integer) SECURITY DEFINER;

-- pg_class says how many rows and pages a table has, others' rows in it included; how old its oldest
-- transaction is; and in which file it lies. Those columns go, and with them its system columns.
DO $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(format('pg_class.%I', attname), ', ') INTO columns
    FROM pg_catalog.pg_attribute
    WHERE attrelid = 'pg_catalog.pg_class'::regclass AND (attnum < 0 OR attname = ANY (ARRAY[
        'relallfrozen', 'relallvisible', 'relfilenode', 'relfrozenxid', 'relminmxid', 'relpages', 'reltuples']))
        AND has_column_privilege('public', attrelid, attnum, 'SELECT');
    IF columns IS NOT NULL THEN
        REVOKE ALL ON pg_catalog.pg_class FROM PUBLIC;
        EXECUTE (SELECT 'GRANT SELECT (' || string_agg(quote_ident(attname), ', ') || ') ON pg_catalog.pg_class TO PUBLIC'
            FROM pg_catalog.pg_attribute
            WHERE attrelid = 'pg_catalog.pg_class'::regclass AND attnum > 0 AND attname <> ALL (ARRAY[
                'relallfrozen', 'relallvisible', 'relfilenode', 'relfrozenxid', 'relminmxid', 'relpages', 'reltuples']));
    END IF;
END
$$;

-- Code written on the spot: DO blocks and functions are the application's, made by its owner.
REVOKE USAGE ON LANGUAGE plpgsql, sql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql, sql TO tiergate_owner, tiergate_context;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
