-- What applications write by hand, one statement a paragraph; "since N" names the first version that takes it.
-- The tables are those of tests/integration/test_guard_ordinary.py.

SELECT 1

SELECT $1::text AS said, $2::int AS n

SELECT * FROM tasks

SELECT t.*, p.name AS project FROM public.tasks AS t JOIN public.projects p USING (tenant_id) WHERE p.id = t.project_id

SELECT DISTINCT ON (project_id) project_id, title, created_at FROM tasks ORDER BY project_id, created_at DESC

SELECT title FROM tasks WHERE state = 'open' AND minutes BETWEEN 5 AND 60 ORDER BY created_at DESC NULLS LAST LIMIT 20 OFFSET 40

SELECT title FROM tasks WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC FETCH FIRST 20 ROWS ONLY

SELECT title FROM tasks WHERE state IN ('open', 'done') AND title ILIKE '%' || $1 || '%'

SELECT title FROM tasks WHERE state = ANY ($1::public.task_state[])

SELECT title FROM tasks WHERE id = ANY ($1::uuid[]) ORDER BY array_position($1::uuid[], id)

SELECT title FROM tasks WHERE title ~* '^re(view|lease)' AND title !~ 'draft' AND title NOT LIKE '\_%' ESCAPE '\'

SELECT title FROM tasks WHERE title SIMILAR TO '(a|b)%'

SELECT title FROM tasks WHERE due_at < now() - interval '7 days'

SELECT title FROM tasks WHERE due_at >= date_trunc('week', now() AT TIME ZONE 'Europe/Berlin') AT TIME ZONE 'Europe/Berlin'

SELECT title FROM tasks WHERE due_at::date = CURRENT_DATE AND created_at > CURRENT_TIMESTAMP - make_interval(days => $1)

SELECT title FROM tasks WHERE (created_at, created_at + interval '1 hour') OVERLAPS ($1::timestamptz, $2::timestamptz)

SELECT extract(epoch FROM now() - created_at)::bigint AS age_s, age(due_at), to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS') FROM tasks

SELECT date_bin('15 minutes', created_at, TIMESTAMPTZ '2001-01-01') AS slot, count(*) FROM tasks GROUP BY 1 ORDER BY 1

SELECT d::date, count(t.id) FROM generate_series($1::date, $2::date, interval '1 day') AS d LEFT JOIN tasks t ON t.created_at::date = d GROUP BY d

SELECT coalesce(body, ''), nullif(minutes, 0), greatest(minutes, 1), least(minutes, 10), CASE WHEN minutes > 10 THEN 'long' ELSE 'short' END FROM tasks

SELECT CASE state WHEN 'open' THEN 1 WHEN 'done' THEN 2 END, state::text FROM tasks

SELECT title || ' (' || minutes::text || ')', concat_ws(', ', title, body), format('%s: %s', title, minutes), initcap(trim(both ' ' from title)) FROM tasks

SELECT upper(title), substring(title from 1 for 3), position('a' in title), overlay(title placing 'xx' from 1), left(title, 3), lpad(title, 10, '.') FROM tasks

SELECT regexp_replace(title, '\s+', ' ', 'g'), split_part(title, ' ', 1), string_to_array(title, ','), regexp_matches(title, 'a', 'g') FROM tasks

SELECT round(avg(price), 2), sum(minutes) FILTER (WHERE state = 'done'), count(DISTINCT project_id), bool_or(minutes > 5), stddev(price) FROM tasks

SELECT array_agg(title ORDER BY created_at), string_agg(title, ', ' ORDER BY title), json_agg(t), jsonb_object_agg(id, title) FROM tasks t

SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY minutes), mode() WITHIN GROUP (ORDER BY state) FROM tasks

SELECT project_id, state, count(*), grouping(project_id) FROM tasks GROUP BY GROUPING SETS ((project_id), (state), ())

SELECT project_id, state, count(*) FROM tasks GROUP BY ROLLUP (project_id, state) HAVING count(*) > 1

SELECT project_id, sum(minutes) FROM tasks GROUP BY CUBE (project_id)

SELECT title, row_number() OVER w, rank() OVER w, lag(minutes) OVER w, sum(minutes) OVER (w ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM tasks WINDOW w AS (PARTITION BY project_id ORDER BY created_at)

SELECT title, first_value(title) OVER (PARTITION BY state ORDER BY created_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW), ntile(4) OVER (ORDER BY minutes), percent_rank() OVER (ORDER BY minutes) FROM tasks

SELECT title FROM tasks t WHERE EXISTS (SELECT 1 FROM projects p WHERE p.id = t.project_id AND p.name = $1)

SELECT title FROM tasks WHERE project_id IN (SELECT id FROM projects WHERE name LIKE 'a%')

SELECT title FROM tasks WHERE minutes > ALL (SELECT minutes FROM tasks WHERE state = 'done')

SELECT p.name, latest.title FROM projects p CROSS JOIN LATERAL (SELECT title FROM tasks t WHERE t.project_id = p.id ORDER BY created_at DESC LIMIT 1) AS latest

SELECT p.name, (SELECT count(*) FROM tasks t WHERE t.project_id = p.id) AS tasks FROM projects p

SELECT title FROM tasks WHERE state = 'open' UNION ALL SELECT name FROM projects EXCEPT SELECT 'x' INTERSECT (SELECT 'y' ORDER BY 1) ORDER BY 1

SELECT count(*) OVER () AS total, t.* FROM tasks t LIMIT 10

(SELECT 1) UNION (SELECT 2)

VALUES (1, 'a'), (2, 'b')

TABLE projects

SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS given (id, name)

SELECT * FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS given (id, name, place)

SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a', 'b'])) AS r (n, letter)

WITH open AS (SELECT * FROM tasks WHERE state = 'open') SELECT count(*) FROM open

WITH RECURSIVE up AS (SELECT id, parent_id, name, 1 AS depth FROM projects WHERE id = $1 UNION ALL SELECT p.id, p.parent_id, p.name, up.depth + 1 FROM projects p JOIN up ON p.id = up.parent_id) SELECT * FROM up

WITH RECURSIVE up (id, parent_id) AS (SELECT id, parent_id FROM projects UNION SELECT p.id, p.parent_id FROM projects p JOIN up ON p.id = up.parent_id) SEARCH BREADTH FIRST BY id SET place CYCLE id SET looped USING path SELECT * FROM up

WITH moved AS MATERIALIZED (DELETE FROM tasks WHERE state = 'done' RETURNING *) INSERT INTO tasks SELECT * FROM moved RETURNING id

WITH upd AS NOT MATERIALIZED (SELECT id FROM tasks FOR UPDATE SKIP LOCKED LIMIT 1) UPDATE tasks SET state = 'done' FROM upd WHERE tasks.id = upd.id RETURNING tasks.*

SELECT id FROM tasks WHERE state = 'open' ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED

SELECT id FROM tasks FOR NO KEY UPDATE NOWAIT

SELECT t.id FROM tasks t JOIN projects p ON p.id = t.project_id FOR SHARE OF t

INSERT INTO projects (name) VALUES ($1) RETURNING id, created_at

INSERT INTO projects (name) VALUES ('a'), ('b'), (DEFAULT)

INSERT INTO projects DEFAULT VALUES

INSERT INTO projects (name) SELECT title FROM tasks WHERE minutes > 5 RETURNING *

INSERT INTO projects (name) SELECT * FROM unnest($1::text[])

INSERT INTO projects (name) SELECT name FROM json_to_recordset($1::json) AS given (name text, size int)

INSERT INTO projects (tenant_id, name) VALUES (DEFAULT, 'a') ON CONFLICT DO NOTHING

INSERT INTO projects AS p (name) VALUES ($1) ON CONFLICT (tenant_id, name) DO UPDATE SET name = excluded.name, visits = p.visits + 1 WHERE p.name <> excluded.name RETURNING *

INSERT INTO projects (name) VALUES ($1) ON CONFLICT ON CONSTRAINT projects_tenant_id_name_key DO UPDATE SET name = EXCLUDED.name

INSERT INTO projects (tenant_id, name) OVERRIDING SYSTEM VALUE VALUES (DEFAULT, 'a')

UPDATE tasks SET minutes = minutes + 1, changed_at = now() WHERE id = $1 RETURNING id, minutes

UPDATE tasks SET (title, body) = ($1, $2) WHERE id = $3

UPDATE tasks SET (title, minutes) = (SELECT p.name, p.visits FROM projects p WHERE p.id = tasks.project_id)

UPDATE tasks t SET title = given.title FROM (VALUES (1, 'a')) AS given (minutes, title) WHERE t.minutes = given.minutes

UPDATE tasks SET details['a'] = '1', labels[2] = 'x', state = DEFAULT

DELETE FROM tasks WHERE created_at < now() - interval '90 days'

DELETE FROM tasks t USING projects p WHERE p.id = t.project_id AND p.name = $1 RETURNING t.id

MERGE INTO projects p USING (VALUES ('a', 1), ('b', 2)) AS given (name, visits) ON p.name = given.name WHEN MATCHED AND given.visits > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET visits = given.visits WHEN NOT MATCHED THEN INSERT (name, visits) VALUES (given.name, given.visits)

-- since 17
MERGE INTO projects p USING (SELECT 'a' AS name) AS given ON p.name = given.name WHEN NOT MATCHED BY SOURCE THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (name) VALUES (given.name) RETURNING merge_action(), p.*

-- since 18
UPDATE projects SET visits = visits + 1 RETURNING old.visits, new.visits

SELECT details->'a'->>'b', details #>> '{a,b}', details @> '{"a": 1}', details ? 'a', details ?| ARRAY['a'], details - 'a', details || '{"b": 2}' FROM tasks

SELECT details['a']['b'], jsonb_path_query_first(details, '$.a[*] ? (@ > 1)'), details @? '$.a', details @@ '$.a > 1' FROM tasks

SELECT jsonb_build_object('id', id, 'labels', labels), to_jsonb(t), row_to_json(t), jsonb_set(details, '{a}', '1', true), jsonb_strip_nulls(details), jsonb_pretty(details) FROM tasks t

SELECT e.key, e.value FROM tasks, jsonb_each_text(details) AS e

SELECT item->>'name' FROM tasks CROSS JOIN jsonb_array_elements(details->'items') AS item WHERE jsonb_typeof(details->'items') = 'array'

SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id) ORDER BY t.id) FILTER (WHERE t.id IS NOT NULL), '[]'::jsonb) FROM projects p LEFT JOIN tasks t ON t.project_id = p.id GROUP BY p.id

-- since 16
SELECT JSON_OBJECT('a' : 1, 'b' VALUE title NULL ON NULL RETURNING jsonb), JSON_ARRAY(1, 2, title), JSON_ARRAYAGG(title ORDER BY title), JSON_OBJECTAGG(title : minutes), details IS JSON OBJECT FROM tasks GROUP BY title, details

-- since 17
SELECT JSON_VALUE(details, '$.a' RETURNING int DEFAULT 0 ON EMPTY), JSON_QUERY(details, '$.b' WITH WRAPPER), JSON_EXISTS(details, '$.c'), JSON('1'), JSON_SCALAR(1), JSON_SERIALIZE('1') FROM tasks

-- since 17
SELECT j.* FROM tasks, JSON_TABLE(details, '$.items[*]' COLUMNS (place FOR ORDINALITY, name text PATH '$.name', n int PATH '$.n' DEFAULT 0 ON EMPTY, NESTED PATH '$.tags[*]' COLUMNS (tag text PATH '$'))) AS j

SELECT labels[1], labels[1:2], labels @> ARRAY['a'], labels && '{a,b}', array_length(labels, 1), cardinality(labels), array_append(labels, 'x'), array_remove(labels, 'y'), 'a' = ANY (labels), ARRAY(SELECT title FROM tasks) FROM tasks

SELECT ARRAY[[1, 2], [3, 4]], ARRAY[]::text[], '{1,2}'::int[], array_to_string(ARRAY[1, 2], ',')

SELECT label, count(*) FROM tasks, unnest(labels) AS label GROUP BY label

SELECT title FROM tasks WHERE during && tstzrange($1, $2, '[)') AND during @> now() AND lower(during) > $3 AND NOT isempty(during) AND during -|- during

SELECT range_agg(during), int4range(1, 5) * int4range(3, 9), '[1,5)'::int8range, upper_inf(during) FROM tasks GROUP BY during

SELECT title FROM tasks WHERE search @@ websearch_to_tsquery('english', $1) ORDER BY ts_rank(search, websearch_to_tsquery('english', $1)) DESC

SELECT ts_headline('english', body, plainto_tsquery('english', $1), 'MaxWords=10, MinWords=5') FROM tasks WHERE to_tsvector('english', coalesce(title, '') || ' ' || coalesce(body, '')) @@ plainto_tsquery('english', $1)

SELECT setweight(to_tsvector('simple', title), 'A') || to_tsvector('simple', coalesce(body, '')), to_tsquery('simple', 'a & b') && phraseto_tsquery('c d') FROM tasks

SELECT 'open'::public.task_state, enum_range(NULL::public.task_state), $1::"public"."task_state"

SELECT ROW(1, 'a'), (ROW(1, 2)) = (1, 2), (t).title, t FROM tasks t WHERE (t.minutes, t.title) IS NOT NULL

SELECT CAST($1 AS numeric(12, 2)), 1.5::real, '1'::smallint, 5 / 2, 5 % 2, 2 ^ 10, |/ 16, @ -5, ~5, 5 & 3, 1 << 4, 7 # 2

SELECT TRUE AND NOT FALSE OR NULL IS UNKNOWN, 1 IS DISTINCT FROM 2, NULL IS NULL, minutes IS NOT NULL, 1 <> 2, 1 != 2 FROM tasks

SELECT E'a\nb', U&'\0061', $$dollar 'quoted'$$, B'101', X'1F', 'it''s', 1e10

-- since 16
SELECT 0x1F, 0o17, 0b11, 1_000

SELECT gen_random_uuid(), random(), md5('a'), encode(sha256('a'), 'hex'), decode('00ff', 'hex'), '\x00ff'::bytea, convert_to('a', 'UTF8'), hashtext('a')

-- since 18
SELECT uuidv7(), uuid_extract_timestamp(uuidv7()), casefold('A'), array_sort(ARRAY[2, 1])

SELECT '10.0.0.1'::inet << '10.0.0.0/8'::cidr, host('10.0.0.1/8'), masklen('10.0.0.1/8'), '08:00:2b:01:02:03'::macaddr

SELECT point(1, 2) <-> point '(3,4)', box '((0,0),(1,1))' @> point '(0.5,0.5)', circle '((0,0),2)'

SELECT title COLLATE "C" FROM tasks WHERE title COLLATE pg_catalog."default" > 'a' ORDER BY title COLLATE "C.utf8" DESC, lower(title)

SELECT num_nonnulls(1, NULL), width_bucket(5, 0, 10, 5), sign(-1), ceil(1.2), floor(1.8), trunc(1.55, 1), power(2, 3), ln(2), mod(5, 3), div(5, 3), gcd(4, 6)

SELECT now()::timestamptz(0), LOCALTIMESTAMP, statement_timestamp(), clock_timestamp(), timezone('UTC', now()), date '2030-01-01' + 1, date_part('dow', now()), to_timestamp(0), justify_interval('30 days'), isfinite(now())

SELECT time '12:00' + interval '1 hour', timestamp '2030-01-01' - timestamp '2029-01-01', interval '1' day, interval '1-2' year to month, EXTRACT(isodow FROM date '2030-01-01')
