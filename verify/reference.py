"""Writes the reference of what is verified, docs/reference/verify.md.

Run as `python -m verify.reference`; the page goes to standard output.
"""

import sys

from verify.checks import checks

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
| `cluster`, `tier` | where |
| `database` | null where it is about the whole server |
| `place` | null where it is about the whole database or server |
| `outcome` | `ok`, `failed` or `warning` |
| `findings` | each with `what`, the table, role or other object, and `detail`, what is wrong with it |
| `advice` | what to do next; null where nothing was found |

## Looks

Each is made once for each server, for each database with tenants' rows, or for each place.
"""


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
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return (text[:1].upper() + text[1:]).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
