"""Every function on the guard's list is called on a real server, by a superuser, and leaves all as it was."""
# ruff: noqa: E501 - tables of SQL

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests.support.builtins import ALLOWED_FUNCTIONS, ALLOWED_TYPES, Function, read_functions
from tests.support.postgres import open_database, run_sql
from tiergate.embedded import Cluster

# A plausible value of each type that an allowed function takes.
VALUES = {
    "any": "1", "anyarray": "ARRAY[3, 1, 2]", "anycompatible": "2", "anycompatiblearray": "ARRAY[1, 2]",
    "anycompatiblemultirange": "'{[1,5)}'::int4multirange", "anycompatiblenonarray": "2",
    "anycompatiblerange": "'[1,5)'::int4range", "anyelement": "2", "anyenum": "'open'::state",
    "anymultirange": "'{[1,5)}'::int4multirange", "anynonarray": "2", "anyrange": "'[1,5)'::int4range",
    "bit": "B'1010'", "bool": "true", "box": "'(2,2),(1,1)'", "bpchar": "'abc'", "bytea": "'\\x6162636465666768'",
    "char": "'A'", "cidr": "'10.0.0.0/8'", "circle": "'<(1,1),2>'", "date": "'2030-01-02'", "float4": "0.5",
    "float8": "0.5", "inet": "'10.0.0.1/16'", "int2": "2", "int4": "2", "int8": "2", "interval": "'1 day 2 hours'",
    "json": """'{"a": [1, 2]}'""", "jsonb": """'{"a": [1, 2]}'""", "jsonpath": "'$.a[*]'", "line": "'{1,-1,0}'",
    "lseg": "'[(0,0),(1,1)]'", "macaddr": "'08:00:2b:01:02:03'", "macaddr8": "'08:00:2b:01:02:03:04:05'",
    "money": "'12.50'", "name": "'pg_class'", "numeric": "1.5", "oid": "1", "path": "'[(0,0),(1,1)]'",
    "pg_lsn": "'0/1'", "point": "'(1,2)'", "polygon": "'((0,0),(1,1),(2,0))'", "record": "ROW(1, 'a')",
    "regconfig": "'english'", "regdictionary": "'simple'", "text": "'abc'", "tid": "'(0,1)'", "time": "'12:34:56'", "timestamp": "'2030-01-02 03:04'",
    "timestamptz": "'2030-01-02 03:04+00'", "timetz": "'12:34:56+00'", "tsquery": "'a & b'",
    "tsvector": "'a:1A b:2'", "uuid": "'0190163d-8694-739b-aea5-966c26f8ad91'", "varbit": "B'1010'",
    "daterange": "'[2030-01-02,2030-02-01)'", "int4range": "'[1,5)'", "int8range": "'[1,5)'",
    "numrange": "'[1,5)'", "tsrange": "'[2030-01-02,2030-02-01)'", "tstzrange": "'[2030-01-02,2030-02-01)'",
    "varchar": "'abc'", "xid": "'3'", "xid8": "'3'", "xml": "'<a/>'",
}  # fmt: skip

# Tried one after the other until a call succeeds: what some functions want of a type.
VARIANTS: tuple[dict[str, str], ...] = (
    {},
    {"text": "'hour'", "float8": "2", "bytea": "'\\x3031'", "int4": "1", "jsonb": "'[1]'", "json": "'[1]'"},
    {"text": "'UTC'", "name": "'UTF8'", "int4": "0", "jsonb": "'true'", "interval": "'2 hours'"},
    {"text": "'NFC'", "name": "'LATIN1'", "jsonb": "'1'", "path": "'((0,0),(1,1),(2,0))'"},
    {"text": "'[)'", "macaddr8": "'08:00:2b:ff:fe:02:03:04'", "jsonb": """'["all"]'"""},
    {"text": "'i'", "bytea": "'\\x61'"},
    {"text": "'hex'"},
    {"text": "'9'"},
    {"text": "'day'"},
    {"text": "''"},
)
WEIGHTS = "'{0.1,0.2,0.4,1}'::float4[], "
# Those that want arguments that differ, or a syntax of their own.
CALLS = {
    "count": ["count(*)"],
    "cume_dist": ["cume_dist(1) WITHIN GROUP (ORDER BY 1)", "cume_dist() OVER ()"],
    "date_trunc": [
        "date_trunc('hour', now())", "date_trunc('hour', now(), 'UTC')", "date_trunc('hour', interval '1 day')",
        "date_trunc('hour', timestamp '2030-01-02 03:04')",
    ],
    "decode": ["decode('00ff', 'hex')"],
    "dense_rank": ["dense_rank(1) WITHIN GROUP (ORDER BY 1)", "dense_rank() OVER ()"],
    "interval": ["pg_catalog.interval('1.5 s'::interval, 2147418112)", "pg_catalog.interval(time '12:34')"],
    "json_build_object": ["json_build_object()", "json_build_object('a', 1)"],
    "json_object": ["json_object('{a,1}')", "json_object('{a}', '{1}')"],
    "json_populate_record": ["json_populate_record(NULL::pair, '{\"a\": 1}')"],
    "json_populate_recordset": ["json_populate_recordset(NULL::pair, '[{\"a\": 1}]')"],
    "json_to_record": ["x FROM json_to_record('{\"a\": 1}') AS x (a int)"],
    "json_to_recordset": ["x FROM json_to_recordset('[{\"a\": 1}]') AS x (a int)"],
    "jsonb_build_object": ["jsonb_build_object()", "jsonb_build_object('a', 1)"],
    "jsonb_object": ["jsonb_object('{a,1}')", "jsonb_object('{a}', '{1}')"],
    "jsonb_populate_record": ["jsonb_populate_record(NULL::pair, '{\"a\": 1}')"],
    "jsonb_populate_record_valid": ["jsonb_populate_record_valid(NULL::pair, '{\"a\": 1}')"],
    "jsonb_populate_recordset": ["jsonb_populate_recordset(NULL::pair, '[{\"a\": 1}]')"],
    "jsonb_to_record": ["x FROM jsonb_to_record('{\"a\": 1}') AS x (a int)"],
    "jsonb_to_recordset": ["x FROM jsonb_to_recordset('[{\"a\": 1}]') AS x (a int)"],
    "line": ["line('(0,0)', '(1,1)')"],
    "make_timestamptz": ["make_timestamptz(2030, 1, 2, 3, 4, 5)", "make_timestamptz(2030, 1, 2, 3, 4, 5, 'UTC')"],
    "mode": ["mode() WITHIN GROUP (ORDER BY 1)"],
    "percent_rank": ["percent_rank(1) WITHIN GROUP (ORDER BY 1)", "percent_rank() OVER ()"],
    "percentile_cont": [
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY 1.5::float8)",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY '1 day'::interval)",
        "percentile_cont(ARRAY[0.5]) WITHIN GROUP (ORDER BY 1.5::float8)",
        "percentile_cont(ARRAY[0.5]) WITHIN GROUP (ORDER BY '1 day'::interval)",
    ],
    "percentile_disc": [
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY 1)",
        "percentile_disc(ARRAY[0.5]) WITHIN GROUP (ORDER BY 1)",
    ],
    "rank": ["rank(1) WITHIN GROUP (ORDER BY 1)", "rank() OVER ()"],
    "regexp_instr": ["regexp_instr('abc', 'b', 1, 1, 0, 'i', 0)"],
    "set_bit": ["set_bit(B'1010', 1, 1)", "set_bit('\\x00'::bytea, 1, 1)"],
    "text": ["text('a'::varchar)", "text(true)", "text('10.0.0.1'::inet)"],
    "to_ascii": ["to_ascii(convert_from('\\x61', 'LATIN1'), 'LATIN1')", "to_ascii('a', 8)"],
    "ts_filter": ["ts_filter('a:1A b:2', '{a}')"],
    "ts_headline": [
        f"ts_headline({config}{document}, 'a', 'MaxWords=5, MinWords=1')"
        for config in ("", "'english', ")
        for document in ("'a b'::text", "'[\"a\"]'::json", "'[\"a\"]'::jsonb")
    ],
    "ts_rank": [f"ts_rank({weights}'a:1', 'a'{bits})" for weights in ("", WEIGHTS) for bits in ("", ", 1")],
    "ts_rank_cd": [f"ts_rank_cd({weights}'a:1', 'a'{bits})" for weights in ("", WEIGHTS) for bits in ("", ", 1")],
    "width_bucket": ["width_bucket(1.5, 1, 2, 2)", "width_bucket(1.5::float8, 1, 2, 2)", "width_bucket(2, ARRAY[1, 3])"],
}  # fmt: skip
# What a call could leave behind; written down before and after, in one transaction.
STATE = {
    "settings": "SELECT md5(string_agg(name || coalesce(setting, ''), ',' ORDER BY name)) FROM pg_settings",
    "locks": """
        SELECT string_agg(DISTINCT locktype || ' ' || mode, ', ') FROM pg_locks
        WHERE pid = pg_backend_pid() AND mode <> 'AccessShareLock'""",
    "sequences": "SELECT last_value, is_called FROM counter",
    "large objects": "SELECT count(*), max(oid) FROM pg_largeobject_metadata",
    "writes": "SELECT pg_current_xact_id_if_assigned()::text",
    "cursors": "SELECT count(*) FROM pg_cursors",
    "statements": "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql",
    "channels": "SELECT count(*) FROM pg_listening_channels()",
    "login": "SELECT current_user, session_user, current_schemas(true)",
}


@pytest.fixture(scope="module")
async def connection(postgres: Cluster) -> AsyncIterator[psycopg.AsyncConnection]:
    """To a database with a sequence, and types of the application's own."""
    async with open_database(postgres) as conninfo:
        await run_sql(
            conninfo,
            "CREATE TYPE state AS ENUM ('open', 'done')",
            "CREATE TYPE pair AS (a int, b text)",
            "CREATE SEQUENCE counter",
        )
        async with await psycopg.AsyncConnection.connect(conninfo, prepare_threshold=None) as opened:
            yield opened


def calls(function: Function) -> Iterator[str]:
    """Calls of one overload, the likeliest first."""
    for variant in VARIANTS:
        given = [_value(name, VALUES | variant) for name in function.arguments]
        if function.variadic and not function.arguments[-1].startswith("any"):
            given[-1] = f"VARIADIC {given[-1]}"
        over = " OVER ()" if function.kind == "w" else ""
        yield f'pg_catalog."{function.name}"({", ".join(given)}){over}'


def _value(name: str, values: dict[str, str]) -> str:
    if name.startswith("_"):
        return f'ARRAY[{values[name[1:]]}]::pg_catalog."{name[1:]}"[]'
    return (
        values[name] if name.startswith("any") or name == "record" else f'{values[name]}::pg_catalog."{name}"'
    )


async def state(connection: psycopg.AsyncConnection) -> dict[str, object]:
    return {
        name: await (await connection.execute(query.encode())).fetchone() for name, query in STATE.items()
    }


async def succeeds(connection: psycopg.AsyncConnection, call: str) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(f"SELECT {call}".encode())
    except psycopg.Error:
        return False
    return True


async def test_every_overload_of_an_allowed_function_runs_and_leaves_all_as_it_was(
    connection: psycopg.AsyncConnection,
) -> None:
    functions = await read_functions(connection.info.dsn + f" password={connection.info.password}")
    names = sorted((ALLOWED_FUNCTIONS | ALLOWED_TYPES) & functions.keys())
    never_ran, left_behind = [], {}
    async with connection.transaction(force_rollback=True):
        for name in names:
            before = await state(connection)
            if name in CALLS:
                never_ran += [call for call in CALLS[name] if not await succeeds(connection, call)]
            else:
                for function in functions[name]:
                    if function.is_callable and not await runs(connection, function):
                        never_ran.append(f"{name}({', '.join(function.arguments)})")
            if (after := await state(connection)) != before:
                left_behind[name] = {part for part in STATE if before[part] != after[part]}

    assert left_behind == {}
    assert never_ran == []


async def runs(connection: psycopg.AsyncConnection, function: Function) -> bool:
    for call in calls(function):
        if await succeeds(connection, call):
            return True
    return False


@pytest.mark.parametrize(
    ("call", "part"),
    [
        ("set_config('work_mem', '1MB', false)", "settings"),
        ("pg_advisory_lock(1)", "locks"),
        ("pg_advisory_xact_lock(1)", "locks"),
        ("nextval('counter')", "sequences"),
        ("lo_create(0)", "large objects"),
        ("pg_current_xact_id()", "writes"),
        ("ts_stat('SELECT to_tsvector(''a'') FROM nextval(''counter'')')", "sequences"),
    ],
)
async def test_what_a_function_that_acts_leaves_behind_is_seen(
    connection: psycopg.AsyncConnection, call: str, part: str
) -> None:
    async with connection.transaction(force_rollback=True):
        before = await state(connection)
        await connection.execute(f"SELECT {call}".encode())
        after = await state(connection)
    await connection.execute("SELECT pg_advisory_unlock_all()")
    await connection.commit()

    assert before[part] != after[part]
