"""A mover is a superuser: nothing that a tenant has written or made ever runs in its name."""

import uuid
from collections.abc import AsyncIterator

import pytest

from fleet.application import ApplicationSql
from fleet.identifier import quote_identifier
from fleet.own import own_schema
from moves import capture
from moves.copying import copy_chunk
from moves.digests import compare_chunk, whole
from moves.ends import End, Way, open_end
from moves.preflight import look
from moves.sequences import advance
from moves.sight import Goal
from moves.strays import find_strays
from moves.tables import fingerprint, read_tables
from registry.moves import MoveId
from tests.support.moves_engine import anybody, run_in, run_pass
from tests.support.places import Places, login_of, open_places
from tests.support.postgres import run_sql
from tiergate.deadline import Deadline
from tiergate.embedded import Cluster
from tiergate.tenant import Tier

RUNS = """CREATE FUNCTION {S}.runs(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN EXECUTE t; RETURN true; END$$;"""
BY_NAME = """CREATE FUNCTION {S}.by_name(t text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
'SELECT {S}.runs(t)';"""
ATOMIC = """CREATE FUNCTION {S}.atomic(t text) RETURNS boolean LANGUAGE sql IMMUTABLE
BEGIN ATOMIC SELECT {S}.runs(t); END;"""
REFUSED = {
    "a check": "ALTER TABLE {S}.notes ADD CHECK ({S}.runs(body))",
    "a generated column": "ALTER TABLE {S}.notes ADD ran boolean GENERATED ALWAYS AS ({S}.runs(body)) STORED",
    "an index": "CREATE INDEX ON {S}.notes (tenant_id, {S}.runs(body))",
    "a partial index": "CREATE INDEX ON {S}.notes (tenant_id) WHERE {S}.runs(body)",
    "a domain": "CREATE DOMAIN {S}.run AS text CHECK ({S}.runs(value))",
    "an operator": """CREATE OPERATOR {S}.@@@ (LEFTARG = text, FUNCTION = {S}.runs, RIGHTARG = text);
        ALTER TABLE {S}.notes ADD CHECK (body OPERATOR({S}.@@@) 'a')""",
    "a function that names it": BY_NAME + "ALTER TABLE {S}.notes ADD CHECK ({S}.by_name(body))",
    "a function that is bound to it": ATOMIC + "ALTER TABLE {S}.notes ADD CHECK ({S}.atomic(body))",
}
TWO = """CREATE FUNCTION {S}.runs(a text, b text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN EXECUTE a || b; RETURN true; END$$;"""
SOUND = {
    "nobody calls it": "SELECT 1",
    "a default calls it": "ALTER TABLE {S}.notes ADD is_run boolean DEFAULT {S}.runs('SELECT 1')",
    "a trigger's": """CREATE FUNCTION {S}.heard() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN EXECUTE 'SELECT 1'; RETURN NEW; END$$;
        CREATE TRIGGER hears AFTER INSERT ON {S}.notes FOR EACH ROW EXECUTE FUNCTION {S}.heard()""",
    "a check without": """CREATE FUNCTION {S}.fine(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
        $$BEGIN RETURN t <> 'executed'; END$$; ALTER TABLE {S}.notes ADD CHECK ({S}.fine(body))""",
}


@pytest.fixture(scope="module")
async def pair(postgres: Cluster) -> AsyncIterator[tuple[Places, Places]]:
    own = frozenset({Tier.PREMIUM, Tier.GOVERNMENT})
    async with open_places(postgres, full_sql=own) as here, open_places(postgres) as there:
        yield here, there


async def told(pair: tuple[Places, Places], *plants: str) -> list[str]:
    here, there = pair
    placement = await here.create(Tier.PREMIUM)
    for each in plants:
        await run_sql(here.admin(placement.place), each.replace("{S}", placement.place.schema))
    application: ApplicationSql = here.provisioner.application
    goal = Goal(there.access, Tier.GOVERNMENT, None)
    seen = await look(End(here.access, placement), goal, application, Deadline.after(60))
    return [each.what for each in seen.findings if each.code == "runs-text"]


@pytest.mark.parametrize("way", REFUSED)
async def test_a_function_that_runs_what_a_row_says_forbids_the_move(
    pair: tuple[Places, Places], way: str
) -> None:
    found = await told(pair, RUNS, TWO, REFUSED[way])

    assert found
    assert all(".runs(" in each for each in found)


@pytest.mark.parametrize("way", SOUND)
async def test_one_that_no_row_reaches_does_not(pair: tuple[Places, Places], way: str) -> None:
    assert await told(pair, RUNS, SOUND[way]) == []


FUNCTIONS = """
concat(bigint) text; concat(integer) text; convert_to(text, text) bytea; format(text, integer) text;
sha256(bytea) bytea; substr(bytea, integer, integer) bytea; jsonb_build_array(text) jsonb;
count(record) bigint; same(text, text) boolean; less(integer, integer) boolean; arrow(jsonb, integer) text;
hashtext(text) integer; to_regclass(text) regclass; unnest(text[]) text
"""
SHADOWS = (
    *(
        f"CREATE FUNCTION {')'.join(each.split(')')[:-1])}) RETURNS {each.split(')')[-1]} LANGUAGE plpgsql"
        " AS $$BEGIN RAISE EXCEPTION 'called by %', session_user; END$$"
        for each in FUNCTIONS.split(";")
    ),
    "CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same)",
    "CREATE OPERATOR > (LEFTARG = integer, RIGHTARG = integer, FUNCTION = less)",
    "CREATE OPERATOR <= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = less)",
    "CREATE OPERATOR ->> (LEFTARG = jsonb, RIGHTARG = integer, FUNCTION = arrow)",
    "CREATE DOMAIN mine AS text CHECK (same(value, value))",
    "CREATE TABLE pg_class (relname name)",
    "CREATE TABLE notes (tenant_id text, id integer, body text)",
)


async def test_what_a_tenant_makes_under_the_names_that_a_mover_uses_is_never_called(
    pair: tuple[Places, Places],
) -> None:
    here, there = pair
    placement = await here.create(Tier.PREMIUM)
    path = f"SET search_path = {quote_identifier(own_schema(placement.place))}, pg_catalog"
    await run_sql(login_of(placement.place), path, *SHADOWS)
    target = there.placement(placement.tenant, Tier.PREMIUM)
    await there.provisioner.make_place(there.access, target, Deadline.after(60))
    way = Way(
        MoveId(str(uuid.uuid4())), placement.tenant, str(uuid.uuid4()),
        End(here.access, placement), End(there.access, target),
    )  # fmt: skip
    schema = placement.place.schema

    async with (
        open_end(way.source, Deadline.after(60)) as source,
        open_end(way.target, Deadline.after(60)) as far,
    ):
        await far.execute(
            "INSERT INTO tiergate.import_guard VALUES (%s, %s, %s, %s)",
            (way.tenant, target.place.id, way.move, way.attempt),
        )
        tables = await read_tables(source, schema)
        write = f"INSERT INTO notes SELECT '{way.tenant}', n, 'a' FROM generate_series({{}}) AS n"
        await run_in(source, way.source, write.format("1, 20"))
        await capture.install(source, way.move, way.tenant, schema, tables, always=True, allowed=anybody)
        for table in tables:
            while not (await copy_chunk(source, far, way, table, rows=7)).is_last:
                pass
        await run_in(source, way.source, write.format("21, 30"))
        await run_pass(source, far, way, tables)
        await advance(source, far, way, tables)
        compared = await compare_chunk(source, far, way, tables[0], None, 100)
        digests = [
            await whole(end, way.tenant, place.schema, tables[0])
            for end, place in ((source, placement.place), (far, target.place))
        ]
        strays = await find_strays(source, placement)
        await fingerprint(source, schema)
        await capture.remove(source, way.move, schema)

    assert (compared.rows, compared.differing) == (30, ())
    assert digests[0] == digests[1]
    assert strays
