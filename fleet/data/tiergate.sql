-- The data plane: what every database that holds tenants' rows carries.
--
-- Runs as a superuser in one transaction, any number of times, on PostgreSQL 15 to 18.
-- The roles exist already (fleet/cluster.py); everything here belongs to tiergate_context,
-- which cannot log in and has no members, so that nobody but these functions reads the keys.
--
-- How a request proves who it is:
--   1. The gateway signs (tenant, place, epoch, expiry, backend pid) with the database's key; behind a
--      transaction pooler, where it cannot know the pid, (tenant, place, epoch, expiry, timeout, login),
--      which a database believes only if its key is marked for that.
--   2. tiergate.enter() checks that signature and the fence under the tenant's shared lock,
--      and leaves a context: the tenant's name, signed anew over this backend and the start of
--      this very transaction. It ends with the transaction and is worth nothing in another.
--   3. tiergate.tenant(), which every policy asks, checks that second signature.
-- The gateway's signature travels as a parameter and is never visible to the tenant's SQL.

CREATE SCHEMA IF NOT EXISTS tiergate AUTHORIZATION tiergate_context;
REVOKE ALL ON SCHEMA tiergate FROM PUBLIC;

-- HMAC needs the key twice, padded to SHA-256's block of 64 bytes (RFC 2104); kept ready-made.
CREATE TABLE IF NOT EXISTS tiergate.context_key (
    kid integer PRIMARY KEY,
    inner_pad bytea NOT NULL CHECK (length(inner_pad) = 64),
    outer_pad bytea NOT NULL CHECK (length(outer_pad) = 64)
);
-- Whether what this key signs may come through a transaction pooler, and so name no backend.
ALTER TABLE tiergate.context_key ADD COLUMN IF NOT EXISTS pooled boolean NOT NULL DEFAULT false;
ALTER TABLE tiergate.context_key OWNER TO tiergate_context;
REVOKE ALL ON tiergate.context_key FROM PUBLIC;

-- Who serves a tenant here. The authority over every cache and over the registry.
CREATE TABLE IF NOT EXISTS tiergate.fence (
    tenant_id text COLLATE "C" PRIMARY KEY,
    place text NOT NULL,
    epoch bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'read_only', 'suspended', 'moved', 'deleted')),
    forward jsonb,
    move_id uuid
);
ALTER TABLE tiergate.fence OWNER TO tiergate_context;
REVOKE ALL ON tiergate.fence FROM PUBLIC;

-- Which application tables were applied to which schema (fleet/application.py).
CREATE TABLE IF NOT EXISTS tiergate.application (
    schema_name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE tiergate.application OWNER TO tiergate_context;
REVOKE ALL ON tiergate.application FROM PUBLIC;


-- Makes the rest of this transaction the tenant's, or raises.
--
-- The lock comes first and the fence is read by a later statement: in READ COMMITTED that
-- statement sees whatever the holder of the exclusive lock has committed. A REPEATABLE READ or
-- SERIALIZABLE transaction keeps the snapshot from before the wait, so there the row is locked for a moment
-- too, which Postgres refuses when it has changed since. A READ ONLY one cannot lock rows and
-- need not: what it reads was this place's truth at a moment after the request began.
--
-- mac: hexadecimal HMAC-SHA256 over 'enter|kid|pid|expires|epoch|place|tenant'; or 'p' and the one over
-- 'enter-pooled|kid|login|expires|timeout_ms|epoch|place|tenant', where a pooler stands in between.
-- expires: seconds since 1970, by this server's clock; nothing lives longer than 90 s, whatever was signed.
-- timeout_ms: statement_timeout for the rest of the transaction.
-- The hint tells the gateway what to do: 'key', read the route anew; 'clock', read our clock anew.
CREATE OR REPLACE FUNCTION tiergate.enter(
    tenant text, place text, epoch bigint, kid integer, expires bigint, mac text, timeout_ms integer
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    backend integer := pg_backend_pid();
    inner_pad bytea;
    outer_pad bytea;
    pooled boolean;
    kind text := '';
    signed text;
    fence tiergate.fence;
    context text;
BEGIN
    SELECT k.inner_pad, k.outer_pad, k.pooled INTO inner_pad, outer_pad, pooled
    FROM tiergate.context_key AS k WHERE k.kid = enter.kid;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: this database does not know the gateway''s key',
            HINT = 'key';
    END IF;
    IF mac LIKE 'p%' THEN
        IF NOT pooled THEN
            RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: this database takes nothing through a pooler',
                HINT = 'key';
        END IF;
        kind := 'p';
        signed := format('enter-pooled|%s|%s|%s|%s|%s|%s|%s', kid, session_user, expires, timeout_ms, epoch, place, tenant);
    ELSE
        signed := format('enter|%s|%s|%s|%s|%s|%s', kid, backend, expires, epoch, place, tenant);
    END IF;
    IF mac IS DISTINCT FROM kind || encode(sha256(outer_pad || sha256(inner_pad || convert_to(signed, 'UTF8'))), 'hex') THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: the request is not signed for this tenant and connection';
    END IF;
    IF clock_timestamp() NOT BETWEEN to_timestamp(expires - 90) AND to_timestamp(expires) THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', HINT = 'clock',
            MESSAGE = 'tiergate: the request''s signature has expired, or would live too long';
    END IF;

    PERFORM pg_advisory_xact_lock_shared(1413959000, hashtext(tenant));
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
        AND current_setting('transaction_read_only') = 'off' THEN
        BEGIN
            SELECT * INTO fence FROM tiergate.fence AS f WHERE f.tenant_id = tenant FOR SHARE;
            RAISE EXCEPTION USING ERRCODE = 'TG000';
        EXCEPTION
            WHEN serialization_failure THEN
                RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route', HINT = 'changed';
            WHEN SQLSTATE 'TG000' THEN
                NULL; -- the block is rolled back, and the row's lock with it: nobody who changes the fence waits for us
        END;
    ELSE
        SELECT * INTO fence FROM tiergate.fence AS f WHERE f.tenant_id = tenant;
    END IF;
    IF fence.epoch IS DISTINCT FROM epoch OR fence.place IS DISTINCT FROM place
        OR coalesce(fence.state, 'unknown') NOT IN ('active', 'read_only') THEN
        RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route',
            DETAIL = coalesce(fence.forward::text, '{}'), HINT = coalesce(fence.state, 'unknown');
    END IF;
    IF fence.state = 'read_only' AND current_setting('transaction_read_only') = 'off' THEN
        RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route', HINT = 'read_only';
    END IF;

    -- Assignments, not PERFORM: a simple expression costs 2 µs less than a query.
    context := set_config('statement_timeout', timeout_ms::text, true);
    context := set_config('tiergate.context', lpad(kid::text, 10, '0') || encode(sha256(outer_pad || sha256(
            inner_pad || 'tenant|'::bytea || int4send(backend)
            || timestamptz_send(transaction_timestamp()) || convert_to(tenant, 'UTF8'))), 'hex') || tenant, true);
END
$$;
ALTER FUNCTION tiergate.enter(text, text, bigint, integer, bigint, text, integer) OWNER TO tiergate_context;
REVOKE ALL ON FUNCTION tiergate.enter(text, text, bigint, integer, bigint, text, integer) FROM PUBLIC;


-- The tenant whose transaction this is, or an error: never null, never another's.
--
-- STABLE, never IMMUTABLE: an immutable one would be folded into cached plans. Restricted to the
-- parallel leader, since a worker has another backend pid.
CREATE OR REPLACE FUNCTION tiergate.tenant() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    context text := current_setting('tiergate.context', true);
    tenant text := substr(context, 75);
    inner_pad bytea;
    outer_pad bytea;
BEGIN
    IF tenant IS NULL OR tenant = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: no tenant in this transaction';
    END IF;
    SELECT k.inner_pad, k.outer_pad INTO inner_pad, outer_pad
    FROM tiergate.context_key AS k WHERE k.kid = left(context, 10)::integer;
    IF NOT FOUND OR substr(context, 11, 64) <> encode(sha256(outer_pad || sha256(
            inner_pad || 'tenant|'::bytea || int4send(pg_backend_pid())
            || timestamptz_send(transaction_timestamp()) || convert_to(tenant, 'UTF8'))), 'hex') THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: the tenant in this transaction is forged';
    END IF;
    RETURN tenant;
END
$$;
ALTER FUNCTION tiergate.tenant() OWNER TO tiergate_context;
REVOKE ALL ON FUNCTION tiergate.tenant() FROM PUBLIC;


-- Puts a table under the rule, or says what is wrong with it. Any number of times.
--
-- Two policies: the restrictive one is the wall, for every role there is; the permissive one
-- only lets rows through to it, since restrictive policies alone let none through.
CREATE OR REPLACE FUNCTION tiergate.protect(target regclass) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tenant_column smallint;
    is_exact boolean;
    wrong text;
BEGIN
    SELECT attnum, collisdeterministic INTO tenant_column, is_exact
    FROM pg_attribute JOIN pg_collation AS c ON c.oid = attcollation
    WHERE attrelid = target AND attname = 'tenant_id' AND NOT attisdropped
        AND atttypid = 'text'::regtype AND attnotnull;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TG004', MESSAGE = format('table %s has no column "tenant_id text NOT NULL"', target),
            HINT = 'Add: tenant_id text NOT NULL DEFAULT tiergate.tenant()';
    END IF;
    IF NOT is_exact THEN
        RAISE EXCEPTION USING ERRCODE = 'TG004', MESSAGE = format('column tenant_id of table %s takes different names for equal', target),
            DETAIL = 'Its collation is nondeterministic, and the policy compares by it.', HINT = 'Leave COLLATE out.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index WHERE indrelid = target AND indisprimary) THEN
        RAISE EXCEPTION USING ERRCODE = 'TG004', MESSAGE = format('table %s has no primary key', target),
            HINT = 'Add: PRIMARY KEY (tenant_id, id)';
    END IF;
    SELECT indexrelid::regclass::text INTO wrong FROM pg_index
    WHERE indrelid = target AND (indisunique OR indisexclusion) AND indkey[0] <> tenant_column LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TG004', MESSAGE = format('unique key %s of table %s does not begin with tenant_id', wrong, target),
            DETAIL = 'A key over all tenants tells one tenant what another has.', HINT = 'Put tenant_id first in the key.';
    END IF;
    SELECT conname INTO wrong FROM pg_constraint
    WHERE conrelid = target AND contype = 'f' AND NOT EXISTS (
        SELECT FROM unnest(conkey, confkey) AS pair (here, there)
        JOIN pg_attribute AS far ON far.attrelid = confrelid AND far.attnum = pair.there
        WHERE pair.here = tenant_column AND far.attname = 'tenant_id') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TG004', MESSAGE = format('foreign key %I of table %s leaves the tenant', wrong, target),
            HINT = 'Write it as FOREIGN KEY (tenant_id, …) REFERENCES … (tenant_id, …).';
    END IF;

    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('DROP POLICY IF EXISTS tiergate_tenant ON %s', target);
    EXECUTE format('CREATE POLICY tiergate_tenant ON %s AS RESTRICTIVE TO PUBLIC '
        'USING (tenant_id = (SELECT tiergate.tenant())) WITH CHECK (tenant_id = (SELECT tiergate.tenant()))', target);
    EXECUTE format('DROP POLICY IF EXISTS tiergate_access ON %s', target);
    EXECUTE format('CREATE POLICY tiergate_access ON %s AS PERMISSIVE TO PUBLIC USING (true) WITH CHECK (true)', target);
END
$$;
ALTER FUNCTION tiergate.protect(regclass) OWNER TO tiergate_context;
REVOKE ALL ON FUNCTION tiergate.protect(regclass) FROM PUBLIC;
GRANT USAGE ON SCHEMA tiergate TO tiergate_owner;
GRANT EXECUTE ON FUNCTION tiergate.protect(regclass), tiergate.tenant() TO tiergate_owner;
