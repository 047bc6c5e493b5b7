"""What applications say: statements that pass on every tier, of every kind and with every clause."""

_STATEMENTS = """
SELECT 1
SELECT
SELECT 1;
/* a */ SELECT -- b
(SELECT 1)
((SELECT 1) LIMIT 1)
VALUES (1, 'a'), (2, $1)
TABLE members
TABLE app.members
SELECT * FROM members
SELECT m.*, count(*) OVER () AS n FROM public.members AS m
SELECT "public"."members"."id", "public"."members".* FROM "public"."members" WHERE 1=1
SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC NULLS LAST
SELECT ALL a FROM ONLY t
SELECT a AS "Sum", b "user", c AS current_user, d AS ctid FROM t
SELECT a FROM t WHERE a = ANY ($1::int[]) AND b <> ALL ('{1,2}'::int4[]) AND c IN (1, 2)
SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN SYMMETRIC 2 AND 1
SELECT a FROM t WHERE a LIKE 'x%' ESCAPE '!' OR a NOT ILIKE $1 OR a SIMILAR TO 'b' OR a ~* 'c'
SELECT a FROM t WHERE a IS NULL OR b IS NOT TRUE OR c IS DISTINCT FROM d OR e IS NOT UNKNOWN
SELECT a FROM t WHERE (a, b) > ($1, $2) ORDER BY a, b FETCH FIRST 10 ROWS WITH TIES
SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a) AND b > ALL (SELECT 1) AND (a, b) IN
    (SELECT 1, 2)
SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN b THEN 1 END FROM t
SELECT coalesce(a, 1), nullif(a, 2), greatest(a, b), least(a, b) FROM t
SELECT a::text, CAST(b AS numeric(10, 2)), date '2030-01-01', interval '1 day', timestamptz 'now' FROM t
SELECT a::varchar(10)[], b::"char", c::_text, d::pg_catalog.int8, e::double precision, f::bit(3), g::time(3)
SELECT '{}'::jsonb -> 'a' ->> 'b', a #>> '{a,b}', a @> '{}', a ? 'x', a ?| $1, a @? '$.a', a - 'b' FROM t
SELECT (ARRAY[1])[1:2], a[1][2], ARRAY(SELECT 1), a || b, a && b FROM t
SELECT (x).name, (x).y.z, (x).*, t.a, app.t.a FROM t
SELECT ROW(1, 2), (1, 2), ROW(t.*) FROM t
SELECT a COLLATE "C", a COLLATE "de-x-icu", a COLLATE "en_US.utf8", a COLLATE app.german FROM t
SELECT a FROM t ORDER BY a COLLATE pg_catalog."default" USING <
SELECT now(), current_date, current_timestamp(3), localtime, localtimestamp, CURRENT_TIME
SELECT now() AT TIME ZONE 'UTC', extract(year FROM a), date_trunc('day', a), overlay('a' PLACING 'b' FROM 1)
SELECT trim(BOTH 'x' FROM a), substring(a FROM 2 FOR 3), substring(a SIMILAR 'b' ESCAPE 'c'),
    position('a' IN b)
SELECT normalize(a, NFC), a IS NFC NORMALIZED, (a, b) OVERLAPS (c, d) FROM t
SELECT pg_catalog.lower(a), "lower"(a), LOWER(a), date('2030-01-01'), int4(1.5), make_interval(days => 1)
SELECT gen_random_uuid(), random(), clock_timestamp(), uuidv7(), md5('a'), encode(sha256('a'), 'hex')
SELECT concat(VARIADIC ARRAY['a']), format('%s', a), string_agg(DISTINCT a, ',' ORDER BY a) FILTER (WHERE
    b) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), mode() WITHIN GROUP (ORDER BY b) FROM t
SELECT rank() OVER w, lag(a, 1) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t WINDOW w AS
    (PARTITION BY b ORDER BY c)
SELECT sum(a) OVER (ORDER BY b GROUPS UNBOUNDED PRECEDING EXCLUDE TIES) FROM t
SELECT a, grouping(a) FROM t GROUP BY GROUPING SETS ((a), ()), ROLLUP (b), CUBE (c) HAVING count(*) > 1
SELECT a FROM t GROUP BY DISTINCT a
SELECT a FROM t UNION ALL SELECT b FROM u INTERSECT SELECT 1 EXCEPT VALUES (2) ORDER BY 1 LIMIT 5 OFFSET 2
SELECT 1 FROM t JOIN u ON t.a = u.a LEFT JOIN v USING (a) AS j NATURAL JOIN w CROSS JOIN x FULL JOIN y ON true
SELECT 1 FROM t, LATERAL (SELECT t.a) AS s(b), u AS k(c, d)
SELECT g FROM generate_series(1, 10) WITH ORDINALITY AS g(a, n)
SELECT 1 FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r
SELECT r.a FROM json_to_recordset($1) AS r(a int, b text COLLATE "C", c jsonb[])
SELECT j.* FROM jsonb_each('{}') j, jsonb_array_elements_text(a) e
SELECT JSON_OBJECT('a' : 1, 'b' VALUE 2 ABSENT ON NULL), JSON_ARRAY(1, 2 RETURNING jsonb),
    JSON_ARRAY(SELECT 1)
SELECT JSON_OBJECTAGG(a : b WITH UNIQUE KEYS), JSON_ARRAYAGG(a ORDER BY b) FILTER (WHERE c) OVER () FROM t
SELECT JSON_VALUE(a, '$.b' PASSING 1 AS x RETURNING int DEFAULT 1 ON EMPTY ERROR ON ERROR) FROM t
SELECT JSON_QUERY(a, '$' WITH WRAPPER KEEP QUOTES), JSON_EXISTS(a, '$'), JSON('{}'), JSON_SCALAR(1),
    JSON_SERIALIZE('{}' RETURNING text) FROM t
SELECT a IS JSON, a IS NOT JSON OBJECT WITH UNIQUE KEYS, JSON(a FORMAT JSON ENCODING UTF8) FROM t
SELECT 1 FROM JSON_TABLE('[]', '$[*]' AS p COLUMNS (n FOR ORDINALITY, a int PATH '$.a' NULL ON EMPTY, e
    int EXISTS, NESTED '$.b' COLUMNS (c text))) AS j
SELECT to_tsvector('english', a) @@ websearch_to_tsquery('english'::regconfig, $1) FROM t
SELECT ts_rank(a, to_tsquery('x')), ts_headline('a', plainto_tsquery('b')) FROM t
SELECT int4range(1, 2) @> 1, '[1,2)'::daterange && b, upper(c) FROM t
SELECT point(1, 2) <-> point(3, 4), box '((0,0),(1,1))' @> a, inet '10.0.0.1' << '10.0.0.0/8' FROM t
SELECT a OPERATOR(pg_catalog.+) 1, b OPERATOR(app.=) c, @ -a, |/ 2.0, a ^ 2, ~ b FROM t
SELECT 'O''Reilly', E'\\n', $$x; y$$, $q$ '' $q$, U&'\\00e4', B'101', X'1F', 1_000, 0x1F, 1e3, true, NULL
SELECT "a b"."c d", "ä"."ö", t.ß FROM t
SELECT $1, $65535::int, $2::app.mood, $3::public.mood[]
SELECT a FROM t FOR UPDATE OF t SKIP LOCKED
SELECT a FROM t FOR NO KEY UPDATE NOWAIT
SELECT a FROM t FOR SHARE FOR KEY SHARE
SELECT oid, xml, version FROM t
WITH x AS MATERIALIZED (SELECT 1 AS a), y(b) AS NOT MATERIALIZED (SELECT a FROM x) SELECT * FROM x, y
WITH RECURSIVE x(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM x WHERE a < 5) SELECT a FROM x
WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) SEARCH DEPTH FIRST BY a SET o SELECT * FROM x
WITH RECURSIVE x(a) AS (SELECT 1 UNION SELECT a FROM x) CYCLE a SET c TO 'y' DEFAULT 'n' USING p SELECT *
    FROM x
WITH x AS (DELETE FROM t WHERE a = 1 RETURNING *) INSERT INTO u SELECT * FROM x
WITH x AS (UPDATE t SET a = 1 RETURNING a), y AS (INSERT INTO u VALUES (1) RETURNING b) SELECT * FROM x, y
INSERT INTO t VALUES (1, DEFAULT, $1)
INSERT INTO t DEFAULT VALUES RETURNING id
INSERT INTO app.t AS x (a, b[1], c.d) OVERRIDING SYSTEM VALUE SELECT 1, 2, 3
INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING
INSERT INTO t (a) VALUES (1) ON CONFLICT (a, lower(b) COLLATE "C") WHERE c DO UPDATE SET a = excluded.a,
    (b, c) = (1, DEFAULT) WHERE t.a > 1 RETURNING *, a AS b
INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE SET a = excluded.a
UPDATE t SET a = a + 1, b = DEFAULT, c[1] = 2, d.e = 3 FROM u WHERE t.a = u.a RETURNING t.*
UPDATE ONLY app.t AS x SET (a, b) = (SELECT 1, 2), (c, d) = ROW(3, 4), (e) = (5)
UPDATE t SET a = 1 RETURNING old.a, new.a, WITHIN.b
UPDATE t SET a = 1 RETURNING WITH (OLD AS o, NEW AS n) o.a, n.*
DELETE FROM t USING u, v WHERE t.a = u.a RETURNING *
MERGE INTO t USING u ON t.a = u.a WHEN MATCHED AND u.b THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT
    (a) VALUES (u.a) WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action(), t.*
MERGE INTO t USING (VALUES (1)) AS s(a) ON true WHEN MATCHED THEN DO NOTHING
"""


def rows(table: str) -> tuple[str, ...]:
    """The rows of *table*; a line that is indented goes on where the one before it ended."""
    return tuple(table.strip("\n").replace("\n    ", " ").split("\n"))


PASSING = rows(_STATEMENTS)
