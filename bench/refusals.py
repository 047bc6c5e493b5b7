"""What the guard refuses of statements that are harmless: `python -m bench.refusals [--regress DIR]`.

The corpora are what Drizzle and Prisma sent in the acceptance tests, what SQLAlchemy writes, ordinary SQL
written by hand, and, where DIR is the folder `src/test/regress/sql` of PostgreSQL's source, the plain
statements of its regression tests. They are judged by the lists of the standard tier, with nothing added,
but for the functions, types and operators that the regression tests make for themselves.
"""

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.corpora import ordinary, recorded
from bench.regress import Regress, read_regress
from bench.statements import sqlalchemy_statements
from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementForbidden, StatementNotPassed, StatementTooComplex, StatementUnreadable
from guard.lists import dangerous, extensions, why_dangerous
from guard.verdict import Guard
from tiergate.tenant import Tier

# Of what is not on the lists, what is left out on purpose; why, says docs/explanation/guard.md.
ON_PURPOSE = {
    "the table": "a catalog",
    "the schema": "another schema",
    "the system column": "a system column",
    "the attribute": "a dangerous name after a dot",
    "the name of a database": "another schema",
    "the collation": "a collation of its own, without its schema",
}
SHOWN = 8
_LONGEST = 40


@dataclass(slots=True)
class Count:
    """One corpus, judged.

    Attributes:
        reasons: How many were refused for each reason, and on purpose or not.
        names: What was refused, by reason.
    """

    corpus: str
    statements: int = 0
    passed: int = 0
    reasons: Counter[tuple[str, bool]] = field(default_factory=Counter)
    names: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


NOTHING = Additions()


def judge(corpus: str, statements: Iterable[str], additions: Additions = NOTHING) -> Count:
    """Judge each statement by the lists of the standard tier, with *additions*."""
    lists = catalog(additions, schemas=frozenset({"public", "app"}), explain=False)
    guard, count = Guard({Tier.STANDARD: lists}), Count(corpus)
    for text in statements:
        count.statements += 1
        try:
            guard.judge(text, Tier.STANDARD)
        except StatementNotPassed as refused:
            reason, name, is_meant = _why(refused)
            count.reasons[reason, is_meant] += 1
            count.names[reason][name] += 1
        else:
            count.passed += 1
    return count


def _own(names: frozenset[str]) -> Additions:
    """What an operator adds for an application that makes functions, types and operators of these names."""
    feared = dangerous().functions | dangerous().types
    plain = frozenset(
        name for name in names if re.fullmatch(r"[a-z_][\w$]*", name) and not why_dangerous(name, feared)
    )
    return Additions(
        plain, plain, frozenset(name for name in names if re.fullmatch(r"[-+*/<>=~!@#%^&|`?]+", name))
    )


def _why(refused: StatementNotPassed) -> tuple[str, str, bool]:
    """The reason, what was refused, and whether that is on purpose."""
    match refused:
        case StatementForbidden(kind=kind, name=name):
            return _why_forbidden(kind, name)
        case StatementUnreadable():
            return "not in the grammar", str(refused)[:_LONGEST], True
        case StatementTooComplex():
            return "too complex", refused.reason, False
        case _:
            return refused.code, str(refused)[:_LONGEST], True


def _why_forbidden(kind: str, name: str) -> tuple[str, str, bool]:
    what = kind.removeprefix("the ")
    patterns = dangerous().functions if what == "function" else dangerous().types
    if kind in ON_PURPOSE or not name:
        return ON_PURPOSE.get(kind, what), name, True
    if any(name in each.functions for each in extensions().values()):
        return "an extension's, to be added", name, True
    if why := why_dangerous(name.removeprefix("_"), patterns):
        return f"{what}: {why}", name, True
    return f"another {what}, which may be added", name, False


def show(counts: list[Count]) -> None:
    """Print the tables, in Markdown."""
    print("| corpus | statements | pass | refused | of them on purpose |")
    print("| --- | --- | --- | --- | --- |")
    for count in counts:
        refused = count.statements - count.passed
        meant = sum(number for (_, is_meant), number in count.reasons.items() if is_meant)
        passed = f"{count.passed:,} ({100 * count.passed / count.statements:.1f} %)"
        print(f"| {count.corpus} | {count.statements:,} | {passed} | {refused:,} | {meant:,} |")
    for count in counts:
        print(
            f"\n{count.corpus}\n\n| refused | reason | on purpose | most of all |\n| --- | --- | --- | --- |"
        )
        for (reason, is_meant), number in count.reasons.most_common():
            most = ", ".join(
                f"`{name}` {times}" for name, times in count.names[reason].most_common(SHOWN) if name
            )
            print(f"| {number:,} | {reason} | {'yes' if is_meant else 'no'} | {most} |")


def main() -> None:
    """Judge the corpora and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--regress", type=Path, metavar="DIR", help="src/test/regress/sql of PostgreSQL's source"
    )
    arguments = parser.parse_args()
    counts = [
        judge("Drizzle", recorded("drizzle")),
        judge("Prisma", recorded("prisma")),
        judge("SQLAlchemy", sqlalchemy_statements()),
        judge("ordinary SQL", [each.text for each in ordinary()]),
    ]
    if arguments.regress:
        found: Regress = read_regress(arguments.regress)
        counts.append(judge("PostgreSQL's regression tests", found.statements, _own(found.made)))
    show(counts)


if __name__ == "__main__":
    main()
