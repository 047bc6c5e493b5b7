-- A few hundred rows for one tenant: 20 members, 12 projects, 240 tasks.
--
-- Three statements, each sent by itself, in this order, in transactions of the tenant; separated
-- by a line that holds only a semicolon. The same tenant always gets the same rows, with the same
-- ids; another tenant gets other ids. Run again, they change nothing.
INSERT INTO members (id, email, name, roles, preferences, avatar, is_active, joined_at)
SELECT
    md5(tiergate.tenant() || ' member ' || n)::uuid,
    lower(first_name) || '.' || lower(last_name) || n || '@' || tiergate.tenant() || '.example',
    first_name || ' ' || last_name,
    CASE WHEN n = 1 THEN ARRAY['owner', 'admin'] WHEN n % 5 = 0 THEN ARRAY['admin'] ELSE ARRAY['member'] END,
    jsonb_build_object('theme', CASE WHEN n % 2 = 0 THEN 'dark' ELSE 'light' END, 'mails', n % 3 = 0),
    CASE WHEN n % 4 = 0 THEN decode(md5('avatar ' || n), 'hex') END,
    n % 10 <> 0,
    timestamptz '2025-01-06 09:00+00' + n * interval '9 days 7 hours'
FROM generate_series(1, 20) AS n
CROSS JOIN LATERAL (SELECT
    (ARRAY['Ada', 'Grace', 'Edsger', 'Barbara', 'Donald'])[1 + n % 5] AS first_name,
    (ARRAY['Okafor', 'Lindqvist', 'Moreau', 'Tanaka'])[1 + n % 4] AS last_name
) AS person
ON CONFLICT DO NOTHING
;
INSERT INTO projects (id, slug, name, owner_id, budget, tags, settings, due_on, created_at)
SELECT
    md5(tiergate.tenant() || ' project ' || n)::uuid,
    'project-' || n,
    (ARRAY['Website', 'Billing', 'Mobile app', 'Data platform'])[1 + n % 4] || ' ' || n,
    md5(tiergate.tenant() || ' member ' || 1 + n % 20)::uuid,
    (12500.50 * n)::numeric(14, 2),
    ARRAY['q' || 1 + n % 4, CASE WHEN n % 3 = 0 THEN 'internal' ELSE 'client' END],
    jsonb_build_object('colour', (ARRAY['teal', 'amber', 'plum'])[1 + n % 3], 'limits', jsonb_build_object('tasks', 50 * n)),
    date '2026-01-31' + 14 * n,
    timestamptz '2025-06-02 08:30+00' + n * interval '11 days'
FROM generate_series(1, 12) AS n
ON CONFLICT DO NOTHING
;
INSERT INTO tasks (
    id, project_id, number, title, state, assignee_id, minutes, hourly_rate, labels, details, attachment, due_at, created_at
)
SELECT
    md5(tiergate.tenant() || ' task ' || project || ' ' || n)::uuid,
    md5(tiergate.tenant() || ' project ' || project)::uuid,
    n,
    (ARRAY['Draft', 'Review', 'Build', 'Test', 'Ship'])[1 + n % 5] || ' part ' || n,
    (ARRAY['open', 'doing', 'done'])[1 + (n + project) % 3],
    CASE WHEN n % 6 <> 0 THEN md5(tiergate.tenant() || ' member ' || 1 + (n * project) % 20)::uuid END,
    15::bigint * n * project,
    CASE WHEN n % 2 = 0 THEN (60 + project * 2.75)::numeric(10, 2) END,
    CASE WHEN n % 7 = 0 THEN ARRAY['urgent', 'blocked'] WHEN n % 3 = 0 THEN ARRAY['urgent'] ELSE '{}' END,
    jsonb_build_object('estimate', n % 8, 'steps', jsonb_build_array('plan', 'do', 'check')),
    CASE WHEN n % 9 = 0 THEN convert_to('note ' || n, 'UTF8') END,
    timestamptz '2026-02-01 17:00+00' + (n + project) * interval '1 day 90 minutes',
    timestamptz '2025-09-01 10:15+00' + (n * project) * interval '5 hours'
FROM generate_series(1, 12) AS project
CROSS JOIN generate_series(1, 20) AS n
ON CONFLICT DO NOTHING
