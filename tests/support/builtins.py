"""Reads from real servers what Postgres and its extensions bring, to hold the guard's lists to it.

`python -m tests.support.builtins 15 18 > guard/data/builtins.yaml` starts a server of each of these
versions and writes the names that `(x).f` may call. With `--rest` it writes instead what acts or tells
and is on no list: what a new version brought, for somebody to think about.
"""

import asyncio
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from guard.lists import allowed, dangerous, extensions, why_dangerous
from tests.support.postgres import SETTINGS, server_folder
from tiergate.embedded import find_binaries, open_cluster

# Arguments that SQL cannot give, results that it cannot use: such functions cannot be called.
NOT_FOR_SQL = frozenset({
    "internal", "trigger", "event_trigger", "language_handler", "fdw_handler", "index_am_handler",
    "table_am_handler", "tsm_handler",
})  # fmt: skip
POLYMORPHIC = frozenset({
    "any", "anyarray", "anycompatible", "anycompatiblearray", "anycompatiblemultirange",
    "anycompatiblenonarray", "anycompatiblerange", "anyelement", "anyenum", "anymultirange", "anynonarray",
    "anyrange", "record", "void",
})  # fmt: skip
ALLOWED_FUNCTIONS = frozenset[str]().union(*allowed().functions.values())
ALLOWED_TYPES = frozenset[str]().union(*allowed().types.values())

_FUNCTIONS = """
SELECT p.proname::text AS name, p.prokind::text AS kind, p.provolatile::text AS volatility,
    ARRAY(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)
        JOIN pg_type AS t ON t.oid = a.type ORDER BY place) AS arguments,
    (SELECT typname::text FROM pg_type WHERE oid = p.prorettype) AS result, p.proretset AS rows,
    p.pronargdefaults::int AS defaults, p.provariadic <> 0 AS variadic, p.prosecdef AS definer,
    EXISTS (SELECT FROM pg_operator WHERE oprcode = p.oid)
        OR EXISTS (SELECT FROM pg_cast WHERE castfunc = p.oid)
        OR EXISTS (SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend)) AS behind,
    (SELECT extname::text FROM pg_depend AS d JOIN pg_extension AS x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') AS extension
FROM pg_proc AS p
WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'public'::regnamespace)
ORDER BY 1, 4
"""
_TYPES = """
SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typrelid = 0 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Function:
    """One overload of one function, as pg_proc has it; types by internal name.

    Attributes:
        kind: f, a (aggregate), w (window) or p (procedure).
        volatility: i (immutable), s (stable) or v.
        rows: It returns a set.
        definer: It runs as its owner.
        behind: An operator or a cast calls it, or it reads or writes a type's values.
        extension: The one that brings it; None for Postgres itself.
    """

    name: str
    kind: str
    volatility: str
    arguments: list[str]
    result: str
    rows: bool
    defaults: int
    variadic: bool
    definer: bool
    behind: bool
    extension: str | None

    @property
    def is_callable(self) -> bool:
        """Whether a statement can call it at all."""
        return not NOT_FOR_SQL & {*self.arguments, self.result}

    @property
    def takes_one(self) -> bool:
        """Whether it can be called with one argument, the others having defaults."""
        least = len(self.arguments) - self.defaults - self.variadic
        return bool(self.arguments) and least <= 1

    def foreign(self, types: Iterable[str]) -> set[str]:
        """The types it takes or gives that are neither among *types* nor whatever it is given."""
        return {name.removeprefix("_") for name in (*self.arguments, self.result)} - {*types, *POLYMORPHIC}


async def read_functions(conninfo: str) -> dict[str, list[Function]]:
    """All functions of Postgres, and of the extensions in schema public, by name."""
    found = defaultdict(list)
    async with (
        await psycopg.AsyncConnection.connect(conninfo) as connection,
        connection.cursor(row_factory=class_row(Function)) as cursor,
    ):
        for function in await (await cursor.execute(_FUNCTIONS)).fetchall():
            found[function.name].append(function)
    return found


async def read_types(conninfo: str) -> set[str]:
    """All types of Postgres but the row types of its tables; arrays too, as `_int4`."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        return {name for (name,) in await (await connection.execute(_TYPES)).fetchall()}


async def add_extensions(conninfo: str) -> set[str]:
    """Create every extension that comes with the server; their names."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        found = await connection.execute("SELECT format('%I', name), name FROM pg_available_extensions")
        names = await found.fetchall()
        for quoted, _ in names:
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {quoted} CASCADE".encode())
        return {name for _, name in names}


def acts(function: Function) -> bool:
    """Whether it may do more than make a value of values, as far as pg_proc tells."""
    if not function.is_callable or function.kind == "p":
        return function.kind == "p"
    named = {name for name in function.foreign(ALLOWED_TYPES) if name.startswith("reg")}
    told = function.volatility == "s" and not function.behind
    return function.volatility == "v" or bool(named) or told


def unlisted(functions: dict[str, list[Function]]) -> list[str]:
    """What acts and is neither allowed, nor in an extension's set, nor known to be dangerous."""
    listed = ALLOWED_FUNCTIONS.union(*(each.functions | each.types for each in extensions().values()))
    feared = dangerous().functions
    return [
        name
        for name, overloads in functions.items()
        if name not in listed | ALLOWED_TYPES
        and any(map(acts, overloads))
        and not why_dangerous(name, feared)
    ]


def after_a_dot(functions: dict[str, list[Function]]) -> set[str]:
    """Those that `(x).f` may call: of Postgres itself all, of extensions those that are dangerous."""
    feared = dangerous().functions
    return {
        name
        for name, overloads in functions.items()
        for each in overloads
        if each.takes_one and (each.extension is None or why_dangerous(name, feared))
    }


async def _write(majors: list[int], *, rest: bool) -> None:
    functions: set[str] = set()
    types: set[str] = set()
    for major in majors:
        with server_folder() as folder:
            binaries = find_binaries(major=major)
            async with open_cluster(folder / "cluster", settings=SETTINGS, binaries=binaries) as cluster:
                await add_extensions(cluster.conninfo())
                found = await read_functions(cluster.conninfo())
                types |= await read_types(cluster.conninfo())
        functions |= after_a_dot(found)
        if rest:
            sys.stdout.write(f"{major}: {' '.join(unlisted(found))}\n")
    if not rest:
        sys.stdout.write(_page(functions, types, majors))


def _page(functions: set[str], types: set[str], majors: list[int]) -> str:
    versions = " ".join(map(str, majors))
    head = f"# Made by `python -m tests.support.builtins {versions}`"
    blocks = [f"{head}: what `(x).f` may call if no column is called so."]
    for title, names in (("functions", functions), ("types", types)):
        lines = textwrap.wrap(" ".join(sorted(names)), 118, break_long_words=False, break_on_hyphens=False)
        blocks.append("\n".join([f"{title}: >-", *(f"  {line}" for line in lines)]))
    return "\n".join(blocks) + "\n"


if __name__ == "__main__":
    asyncio.run(_write([int(each) for each in sys.argv[1:] if each.isdecimal()], rest="--rest" in sys.argv))
