-- What a tenant works on.

CREATE TABLE projects (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    slug text NOT NULL,
    name text NOT NULL,
    owner_id uuid NOT NULL,
    budget numeric(14, 2) NOT NULL DEFAULT 0 CHECK (budget >= 0),
    tags text[] NOT NULL DEFAULT '{}',
    settings jsonb NOT NULL DEFAULT '{}',
    due_on date,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, slug),
    FOREIGN KEY (tenant_id, owner_id) REFERENCES members (tenant_id, id)
);

CREATE INDEX projects_by_owner ON projects (tenant_id, owner_id);
