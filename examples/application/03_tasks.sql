-- What is to be done. Numbered by the tenant's own count within a project, since a
-- sequence that all tenants share would tell each how much the others do.

CREATE TABLE tasks (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    project_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    title text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'doing', 'done')),
    assignee_id uuid,
    minutes bigint NOT NULL DEFAULT 0,
    hourly_rate numeric(10, 2),
    labels text[] NOT NULL DEFAULT '{}',
    details jsonb NOT NULL DEFAULT '{}',
    attachment bytea,
    due_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, project_id, number),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, assignee_id) REFERENCES members (tenant_id, id) ON DELETE SET NULL (assignee_id)
);

CREATE INDEX tasks_by_assignee ON tasks (tenant_id, assignee_id);
CREATE INDEX tasks_by_state ON tasks (tenant_id, state, due_at);
