"""Writes the reference of what is verified, docs/reference/verify.md.

Run as `python -m verify.reference`; the page goes to standard output.
"""

import sys

from tiergate.tenant import Tier
from verify.checks import checks
from verify.escapes import Must, escapes

_HEAD = """# What `tiergate verify` checks

<!-- Made from verify/data by `python -m verify.reference`; change it there. -->

How to run it and what to do with what it finds is told in [Verify an installation](../how-to/verify.md).

## The report

`tiergate verify --json` writes one object. New members may come; none changes its meaning while
`version` stays the same.

| member | what it is |
| --- | --- |
| `version` | 1 |
| `outcome` | `ok`, or `failed` when there is a mistake; warnings alone are `ok` |
| `checks`, `failed`, `warnings` | how many checks were made, mistakes found, things worth a look found |
| `took_s` | seconds |
| `results` | every check, whatever it found |

| member of a result | what it is |
| --- | --- |
| `code` | which check, as below |
| `name` | which escape, where `code` is `escape` |
| `cluster`, `tier` | where |
| `database` | null where it is about the whole server |
| `place` | null where it is about the whole database or server |
| `outcome` | `ok`, `failed` or `warning` |
| `findings` | each with `what`, the table, role or other object, and `detail`, what is wrong with it |
| `advice` | what to do next; null where nothing was found |

## Looks

Each is made once for each server, for each database with tenants' rows, or for each place.
"""

_TRIES = """
## Tries

On each cluster, between two tenants that are made for it. One of them writes a row into a table of
yours; the other tries everything below. Whatever must come of it, nothing that comes back may show the
row, and the row stays as it was.

- **request**: through the tenant's pool, as every statement comes, but past the guard: so the database is
  tried alone. The guard is asked too, and must refuse what no ordinary program says; where the tier may run
  all of SQL it is not asked.
- **login**: straight to the server with the tenant's own login, without gateway or fence.

What is tried does no harm if it succeeds: it changes rows of these two alone, and what is tried with a
login is rolled back.

`{table}`, `{columns}`, `{values}` and `{one}` stand for the table, the row and a column of it; `{victim}`,
`{place}`, `{schema}`, `{database}` for the other tenant and where it lives; `{both}` for the names of the
two; `{own}` for one's own schema, `{zeros}` for 64 zeros. Results have the code `escape` and this name.
"""
_MUST = {Must.REFUSED: "refused", Must.NOTHING: "empty", Must.RUNS: "done, as if the other had no row"}


def page() -> str:
    """The page."""
    lines = [
        _HEAD,
        "| code | for each | weight | what it means | what to do next |",
        "| --- | --- | --- | --- | --- |",
    ]
    for check in checks().values():
        said = (f"`{check.code}`", check.scope, check.weight, _cell(check.what), _cell(check.advice))
        lines.append(f"| {' | '.join(said)} |")
    lines += [_TRIES, "| name | way | tiers | what is sent | must be |", "| --- | --- | --- | --- | --- |"]
    for escape in escapes():
        tiers = "all" if len(escape.tiers) == len(Tier) else ", ".join(sorted(escape.tiers))
        sql = f"`{_cell('; '.join(escape.sql))}`"
        lines.append(f"| `{escape.name}` | {escape.way} | {tiers} | {sql} | {_MUST[escape.must]} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return (text[:1].upper() + text[1:]).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
