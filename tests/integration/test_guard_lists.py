"""The guard's lists, held against the server that the suite runs on."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from guard.additions import Additions
from guard.catalog import catalog
from guard.lists import allowed, builtins, dangerous, extensions, why_dangerous
from tests.support.builtins import (
    ALLOWED_FUNCTIONS,
    ALLOWED_TYPES,
    POLYMORPHIC,
    Function,
    add_extensions,
    after_a_dot,
    read_functions,
    read_types,
    unlisted,
)
from tests.support.postgres import open_database
from tiergate.embedded import Cluster

CATALOG = catalog(Additions(), schemas=frozenset({"public"}), explain=False)
# Each makes a value, and nothing else, though a new one each time.
VOLATILE = {
    "array_sample": "chance",
    "array_shuffle": "chance",
    "clock_timestamp": "the time",
    "gen_random_uuid": "chance",
    "random": "chance; the generator's state is the session's, and setseed is not on the list",
    "random_normal": "chance; as random",
    "timeofday": "the time",
    "uuidv4": "chance",
    "uuidv7": "the time, and chance",
}
# Overloads whose types no statement can name. None looks anything up.
STRANGE = {
    ("age", "xid"): "takes a transaction's number, and no column that holds one can be read",
    ("int8", "oid"): "a number from a number",
    ("max", "oid"): "a number from numbers",
    ("max", "pg_lsn"): "a number from numbers",
    ("max", "tid"): "a number from numbers",
    ("max", "xid8"): "a number from numbers",
    ("min", "oid"): "a number from numbers",
    ("min", "pg_lsn"): "a number from numbers",
    ("min", "tid"): "a number from numbers",
    ("min", "xid8"): "a number from numbers",
    ("text", "xml"): "the text of a value that cannot be had",
}
# Of extensions: a new value each time, and nothing else.
CHANCE = {
    "gen_random_bytes", "gen_random_uuid", "gen_salt", "pgp_pub_encrypt", "pgp_pub_encrypt_bytea",
    "pgp_sym_encrypt", "pgp_sym_encrypt_bytea", "uuid_generate_v1mc", "uuid_generate_v4",
}  # fmt: skip
# Not on any list, and no harm if an operator adds them.
HARMLESS = {
    "current_database": "the name of the place, which means nothing",
    "current_schema": "the application's schema",
    "current_schemas": "the application's schema",
    "date_cmp_timestamptz": "behind indexes",
    "enum_in": "reads a value",
    "enum_out": "writes a value",
    "enum_send": "writes a value",
    "getdatabaseencoding": "always UTF8",
    "in_range": "behind windows",
    "normal_rand": "chance",
    "show_limit": "a setting of pg_trgm",
    "timestamp_cmp_timestamptz": "behind indexes",
    "timestamptz_cmp_date": "behind indexes",
    "timestamptz_cmp_timestamp": "behind indexes",
}


@dataclass(frozen=True, slots=True)
class Server:
    """What the server brings, by itself and with every extension that comes with it."""

    functions: dict[str, list[Function]]
    types: set[str]
    extensions: set[str]
    conninfo: str

    def overloads(self, names: frozenset[str]) -> Iterator[Function]:
        """Those of Postgres itself."""
        for name in sorted(names):
            yield from (each for each in self.functions.get(name, []) if each.extension is None)


@pytest.fixture(scope="module")
async def server(postgres: Cluster) -> AsyncIterator[Server]:
    async with open_database(postgres) as conninfo:
        names = await add_extensions(conninfo)
        yield Server(await read_functions(conninfo), await read_types(conninfo), names, conninfo)


def test_every_allowed_function_makes_the_same_value_again_or_has_its_reason(server: Server) -> None:
    changing = {
        each.name for each in server.overloads(ALLOWED_FUNCTIONS | ALLOWED_TYPES) if each.volatility == "v"
    }

    assert changing <= VOLATILE.keys() <= ALLOWED_FUNCTIONS


def test_every_allowed_function_takes_and_gives_allowed_types_in_all_its_overloads(server: Server) -> None:
    strange = {
        (each.name, *each.arguments)
        for each in server.overloads(ALLOWED_FUNCTIONS | ALLOWED_TYPES)
        if each.foreign(ALLOWED_TYPES)
    }

    assert strange == STRANGE.keys()


def test_no_allowed_function_runs_as_its_owner_or_is_a_procedure(server: Server) -> None:
    wrong = [each for each in server.overloads(ALLOWED_FUNCTIONS) if each.definer or each.kind == "p"]

    assert wrong == []


def test_allowed_names_that_the_newest_server_lacks_are_none(server: Server) -> None:
    if "uuidv7" not in server.functions:
        pytest.skip("an older server lacks what came later")

    assert ALLOWED_FUNCTIONS - server.functions.keys() == set()
    assert ALLOWED_TYPES - server.types == set()


def test_what_acts_on_this_server_is_allowed_known_to_be_dangerous_or_harmless(server: Server) -> None:
    """A new version's functions show up here: put each on a list, with a reason."""
    assert set(unlisted(server.functions)) <= HARMLESS.keys()


def test_whatever_takes_one_argument_is_allowed_or_denied_after_a_dot(server: Server) -> None:
    """Run `python -m tests.support.builtins 15 18 > guard/data/builtins.yaml` when this fails."""
    called = after_a_dot(server.functions)
    known = CATALOG.functions | CATALOG.types | {f"_{name}" for name in CATALOG.types}

    assert called <= builtins().functions
    assert server.types <= builtins().types
    assert (called | server.types) - CATALOG.attributes_denied <= known | allowed().attributes


def test_a_name_that_is_harmless_after_a_dot_calls_nothing_but_casts(server: Server) -> None:
    functions = [each for each in server.overloads(allowed().attributes) if each.is_callable]

    assert {(each.name, each.volatility, each.behind) for each in functions} <= {("oid", "i", True)}


def test_no_allowed_function_looks_up_what_a_cast_after_a_dot_can_make(server: Server) -> None:
    """`x.xid` is denied because of age(xid), which tells how many transactions there were."""
    made = {each for each in allowed().attributes if each in server.types and each not in POLYMORPHIC}
    takers = {
        each.name for each in server.overloads(ALLOWED_FUNCTIONS | ALLOWED_TYPES) if made & {*each.arguments}
    }

    assert {"oid", "tid", "cid"} <= made
    assert takers <= {"int8", "max", "min"}


async def test_every_operator_of_the_server_is_allowed_and_harmless(server: Server) -> None:
    query = """
        SELECT o.oprname::text, p.provolatile::text, p.prosecdef
        FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace"""
    async with await psycopg.AsyncConnection.connect(server.conninfo) as connection:
        found = await (await connection.execute(query)).fetchall()

    assert {name for name, *_ in found} == CATALOG.operators
    assert {(volatility, definer) for _, volatility, definer in found} <= {("i", False), ("s", False)}


async def test_every_plain_collation_is_known_to_some_server(server: Server) -> None:
    query = """
        SELECT collname::text FROM pg_collation
        WHERE collprovider <> 'i' AND collname !~ '^[a-z]{2,3}(_|$)'"""
    async with await psycopg.AsyncConnection.connect(server.conninfo) as connection:
        found = {name for (name,) in await (await connection.execute(query)).fetchall()}

    assert found <= CATALOG.collations


def test_the_set_of_an_extension_is_its_own_and_makes_values(server: Server) -> None:
    sets = {name: each for name, each in extensions().items() if name in server.extensions}
    own = {
        (extension, name): [each for each in server.functions.get(name, []) if each.extension == extension]
        for extension, listed in sets.items()
        for name in listed.functions
    }
    changing = {name for (_, name), found in own.items() if any(each.volatility == "v" for each in found)}

    assert sets
    assert {name for (_, name), found in own.items() if not found} <= {"daitch_mokotoff"}  # since 16
    assert changing <= CHANCE
    assert not any(each.definer for found in own.values() for each in found)


def test_no_set_of_an_extension_holds_what_is_dangerous() -> None:
    for name in extensions():
        added = catalog(Additions(extensions=frozenset({name})), schemas=frozenset(), explain=False)
        assert CATALOG.functions <= added.functions
        assert [
            each for each in extensions()[name].functions if why_dangerous(each, dangerous().functions)
        ] == []


def test_every_extension_that_comes_with_the_server_can_be_added_or_has_its_reason(server: Server) -> None:
    harmless = {
        "autoinc", "dict_int", "dict_xsyn", "insert_username", "intagg", "moddatetime", "plpgsql", "refint",
        "tsm_system_rows", "tsm_system_time",
    }  # fmt: skip
    unknown = {
        name
        for name in server.extensions - extensions().keys()
        if not why_dangerous(name, dangerous().extensions)
    }

    assert unknown <= harmless
