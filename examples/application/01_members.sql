-- Who works for a tenant. The same files make the tables on every tier.
--
-- Every table: tenant_id first, first in every key too, and filled in by itself.

CREATE TABLE members (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text NOT NULL CHECK (email LIKE '%_@_%'),
    name text NOT NULL,
    roles text[] NOT NULL DEFAULT '{member}',
    preferences jsonb NOT NULL DEFAULT '{}',
    avatar bytea,
    is_active boolean NOT NULL DEFAULT true,
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);
