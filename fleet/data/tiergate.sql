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
--      and leaves a context: the tenant's name, sealed with the database's own secret over this backend and
--      the start of this very transaction. It ends with the transaction and is worth nothing in another.
--   3. tiergate.tenant(), which every policy asks, checks that seal.
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

-- What contexts are sealed with: 32 bytes, of which 244 bits are chance. Made here, told to nobody, never
-- changed: sessions that have begun go on with the one they know. To change it, end them all.
CREATE TABLE IF NOT EXISTS tiergate.seal (secret bytea NOT NULL CHECK (length(secret) = 32));
ALTER TABLE tiergate.seal OWNER TO tiergate_context;
REVOKE ALL ON tiergate.seal FROM PUBLIC;
CREATE UNIQUE INDEX IF NOT EXISTS one_seal ON tiergate.seal ((true));
INSERT INTO tiergate.seal
SELECT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) ON CONFLICT DO NOTHING;

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

-- Moves: who may bring a tenant's rows here, how far it is, and which rows have changed meanwhile where they
-- are still served. Only superusers reach any of it; rows go when the move is over.
CREATE TABLE IF NOT EXISTS tiergate.import_guard (
    tenant_id text COLLATE "C" PRIMARY KEY,
    place text NOT NULL,
    move_id uuid NOT NULL,
    attempt uuid NOT NULL
);
CREATE TABLE IF NOT EXISTS tiergate.import_progress (
    move_id uuid,
    table_name text,
    last_key text[],
    row_count bigint NOT NULL DEFAULT 0,
    size_bytes bigint NOT NULL DEFAULT 0,
    is_done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (move_id, table_name)
);
CREATE TABLE IF NOT EXISTS tiergate.dirty (
    move_id uuid NOT NULL,
    table_name text NOT NULL,
    key jsonb
);
CREATE INDEX IF NOT EXISTS dirty_of_move ON tiergate.dirty (move_id, table_name);
ALTER TABLE tiergate.import_guard OWNER TO tiergate_context;
ALTER TABLE tiergate.import_progress OWNER TO tiergate_context;
ALTER TABLE tiergate.dirty OWNER TO tiergate_context;
REVOKE ALL ON tiergate.import_guard, tiergate.import_progress, tiergate.dirty FROM PUBLIC;
-- What a move puts behind tables for as long as it goes on; apart, since it comes and goes.
CREATE SCHEMA IF NOT EXISTS tiergate_moves AUTHORIZATION tiergate_context;
REVOKE ALL ON SCHEMA tiergate_moves FROM PUBLIC;



-- The secret as a constant. IMMUTABLE is what makes it cheap, and is true since it never changes: a session reads it once,
-- when it plans the expressions of enter() and tenant(), which saves the latter a query, half of its time.
-- Those two switch debug_print_plan off, which would show the constant to whoever calls them.
CREATE OR REPLACE FUNCTION tiergate.secret() RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$SELECT s.secret FROM tiergate.seal AS s$$;
ALTER FUNCTION tiergate.secret() OWNER TO tiergate_context;
REVOKE ALL ON FUNCTION tiergate.secret() FROM PUBLIC;


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
--
-- Every request pays for this: plpgsql sets up each expression anew in each transaction, about 0.4 µs for each
-- function in it, and a query of a table takes 6 to 10 µs. So there are few of both.
CREATE OR REPLACE FUNCTION tiergate.enter(
    tenant text, place text, epoch bigint, kid integer, expires bigint, mac text, timeout_ms integer
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET debug_print_plan = off
AS $$
#variable_conflict use_variable
DECLARE
    inner_pad bytea;
    outer_pad bytea;
    pooled boolean;
    served_place text;
    served_epoch bigint;
    state text;
    forward jsonb;
    context text;
BEGIN
    SELECT k.inner_pad, k.outer_pad, k.pooled INTO inner_pad, outer_pad, pooled
    FROM tiergate.context_key AS k WHERE k.kid = enter.kid;
    -- An unknown key leaves the pads null, and null is not true.
    IF (mac = encode(sha256(outer_pad || sha256(inner_pad || convert_to(format(
            'enter|%s|%s|%s|%s|%s|%s', kid, pg_backend_pid(), expires, epoch, place, tenant), 'UTF8'))), 'hex')) IS NOT TRUE THEN
        IF inner_pad IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'TG002', HINT = 'key',
                MESSAGE = 'tiergate: this database does not know the gateway''s key';
        ELSIF mac LIKE 'p%' AND NOT pooled THEN
            RAISE EXCEPTION USING ERRCODE = 'TG002', HINT = 'key',
                MESSAGE = 'tiergate: this database takes nothing through a pooler';
        ELSIF (mac = 'p' || encode(sha256(outer_pad || sha256(inner_pad || convert_to(format(
                'enter-pooled|%s|%s|%s|%s|%s|%s|%s', kid, session_user, expires, timeout_ms, epoch, place, tenant), 'UTF8'))),
                'hex')) IS NOT TRUE THEN
            RAISE EXCEPTION USING ERRCODE = 'TG002',
                MESSAGE = 'tiergate: the request is not signed for this tenant and connection';
        END IF;
    END IF;
    IF clock_timestamp() NOT BETWEEN to_timestamp(expires - 90) AND to_timestamp(expires) THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', HINT = 'clock',
            MESSAGE = 'tiergate: the request''s signature has expired, or would live too long';
    END IF;

    PERFORM pg_advisory_xact_lock_shared(1413959000, hashtext(tenant));
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
        AND current_setting('transaction_read_only') = 'off' THEN
        BEGIN
            SELECT f.place, f.epoch, f.state, f.forward INTO served_place, served_epoch, state, forward
            FROM tiergate.fence AS f WHERE f.tenant_id = tenant FOR SHARE;
            RAISE EXCEPTION USING ERRCODE = 'TG000';
        EXCEPTION
            WHEN serialization_failure THEN
                RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route', HINT = 'changed';
            WHEN SQLSTATE 'TG000' THEN
                NULL; -- the block is rolled back, and the row's lock with it: nobody who changes the fence waits for us
        END;
    ELSE
        SELECT f.place, f.epoch, f.state, f.forward INTO served_place, served_epoch, state, forward
        FROM tiergate.fence AS f WHERE f.tenant_id = tenant;
    END IF;
    IF (served_epoch = epoch AND served_place = place AND state IN ('active', 'read_only')) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route',
            DETAIL = coalesce(forward::text, '{}'), HINT = coalesce(state, 'unknown');
    ELSIF state = 'read_only' AND current_setting('transaction_read_only') = 'off' THEN
        RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = 'tiergate: stale route', HINT = 'read_only';
    END IF;

    context := set_config('statement_timeout', timeout_ms::text, true);
    -- The secret on both sides: who knows a seal cannot go on from where its hash ended.
    context := set_config('tiergate.context', 'tiergate1:' || encode(sha256(
        tiergate.secret() || int4send(pg_backend_pid()) || timestamptz_send(transaction_timestamp())
        || convert_to(tenant, 'UTF8') || tiergate.secret()), 'hex') || tenant, true);
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
SET debug_print_plan = off
AS $$
DECLARE
    context text := current_setting('tiergate.context', true);
    tenant text := substr(context, 75);
BEGIN
    IF left(context, 74) = 'tiergate1:' || encode(sha256(
            tiergate.secret() || int4send(pg_backend_pid()) || timestamptz_send(transaction_timestamp())
            || convert_to(tenant, 'UTF8') || tiergate.secret()), 'hex') AND tenant <> '' THEN
        RETURN tenant;
    ELSIF coalesce(tenant, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: no tenant in this transaction';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'TG002', MESSAGE = 'tiergate: the tenant in this transaction is forged';
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
