"""Writes the reference of the guard, docs/reference/guard.md, from the lists.

Run as `python -m guard.reference`; the page goes to standard output.
"""
# ruff: noqa: E501 - a page of Markdown, whose tables cannot be wrapped

import sys
import textwrap
from collections.abc import Iterable, Mapping

from guard.lists import Extension, allowed, dangerous, extensions

_HEAD = """# What statements may say

<!-- Made from guard/data/*.yaml by `python -m guard.reference`; change it there or in guard/reference.py. -->

Every statement that arrives at `POST /sql` is read with Postgres's own grammar (version 18) and judged before it is
given a connection. What is not listed here is refused. [Why](../explanation/guard.md) is another page.

## Refusals

| code | SQLSTATE | when |
| --- | --- | --- |
| `statement-forbidden` | `42501` | Something in the statement is not on the list. `message` says what, `position` where. |
| `statement-refused` | `0A000` | The text is not one statement of a kind that may run. |
| `statement-unreadable` | `42601` | The text is not in Postgres's grammar. `message` and `position` are Postgres's own. |
| `statement-too-complex` | `54001` | The text is longer, deeper or more intricate than is read. |

## Statements

One in each text: `SELECT`, `VALUES`, `TABLE`, `INSERT`, `UPDATE`, `DELETE`, `MERGE`, each with `WITH` in front where
Postgres takes it. On the premium and government tiers also `EXPLAIN` of one of these, with its options. All of their
clauses, but `SELECT INTO`, `TABLESAMPLE`, `WHERE CURRENT OF`, `XMLTABLE` and other XML, and operator classes.
`current_user`, `session_user`, `user`, `current_role`, `current_catalog`, `current_schema` and `system_user` are
refused, too.

## Names

- **Tables**: without a schema, or with `public` or the schema of `application.schema` (both mean the tenant's own).
  Names that begin with `pg_`, and `information_schema`, are refused.
- **Columns**: all but the system's (`ctid`, `xmin`, `xmax`, `cmin`, `cmax`, `tableoid`). After a dot, names of built-in
  functions that are not listed below are refused: `a.f` calls `f(a)` when there is no such column.
- **Functions**: those listed below, without a schema or with `pg_catalog`, and those that the operator adds, without a
  schema or with the application's; and `tiergate.tenant()`, which says who asks.
- **Types**: those listed below, without a schema or with `pg_catalog`; those that the operator adds; and all types of the
  application's schema when they are written with it, as in `$1::public.mood`. Arrays of each.
- **Operators**: those listed below, and those that the operator adds.
- **Settings** that `current_setting` may be asked for, by their names: {settings}.
- **Collations**: {collations};
  names of locales, as `de-x-icu`, `en_US`, `en_US.utf8`; and those of the application's schema when they are written with it.
- **Parameters**: `$1` to `$65535`.

## Sizes

| what | most |
| --- | --- |
| bytes of a text, parameters' values not counted | 65,536 |
| tokens | 20,000 |
| tokens on one path of the tree: about 1,000 conditions of four tokens between AND or OR | 4,000 |
| levels of the tree: about 500 operators in a row, 250 calls or 125 queries, each within the other | 1,024 |

Lists are not limited but by bytes and tokens: 2,000 rows of two parameters, or 9,000 elements of an `IN`, pass.
"""
_ADD = """For each tier, under `guard.tiers` in the [settings](settings.md): `functions`, `types` and `operators` by name, and
`extensions`, each of which stands for the names below. What is not below can be added name by name.
"""
_NEVER = """A star stands for any letters. Such a setting is refused when the gateway starts and when it reloads. What each does,
or why, stands before the names.
"""


def page() -> str:
    """The whole reference, as Markdown."""
    listed, feared = allowed(), dangerous()
    kinds = {"functions": feared.functions, "types": feared.types, "extensions": feared.extensions}
    parts = [
        _HEAD.format(collations=_code(listed.collations), settings=_code(listed.settings)),
        "## Functions\n",
        _items((group, _code(names)) for group, names in listed.functions.items()),
        "\nTypes may be called as functions, too: `date('2030-01-01')`.\n",
        "## Types\n",
        "By Postgres's internal names: `integer` is `int4`, `varchar` and `character varying` are the same.\n",
        _items((group, _code(names)) for group, names in listed.types.items()),
        "\n## Operators\n",
        _wrapped(_code(listed.operators)),
        "\n## What an operator may add\n",
        _ADD,
        _items((f"`{name}`", _brought(each)) for name, each in extensions().items()),
        "\n## What cannot be added\n",
        _NEVER,
        "\n".join(f"### {kind.capitalize()}\n\n{_feared(patterns)}\n" for kind, patterns in kinds.items()),
    ]
    return "\n".join(parts)


def _feared(patterns: Mapping[str, str]) -> str:
    return _items(
        (reason, _code(pattern for pattern, why in patterns.items() if why == reason))
        for reason in dict.fromkeys(patterns.values())
    )


def _brought(extension: Extension) -> str:
    told = {"functions": extension.functions, "types": extension.types, "operators": extension.operators}
    return "; ".join(f"{kind} {_code(names)}" for kind, names in told.items() if names) or "indexes alone"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in (sorted(names) if isinstance(names, frozenset) else names))


def _items(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(_wrapped(f"- **{title}**: {text}", indent="  ") for title, text in pairs)


def _wrapped(text: str, *, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(page())
