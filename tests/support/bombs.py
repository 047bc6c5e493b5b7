"""Texts made to end, fill or stall the process that parses them; and a process that may be lost to that.

`python -m tests.support.bombs judge NAME SIZE` prints the guard's answer and its seconds;
`parse` and `scan` give the same text to the parser and the scanner, without the guard.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable

BOMBS: dict[str, Callable[[int], str]] = {
    "sums": lambda n: "SELECT " + "+".join(["1"] * n),
    "concatenations": lambda n: "SELECT " + "||".join(["a"] * n),
    "unions": lambda n: " UNION ".join(["SELECT 1"] * n),
    "unions of lists": lambda n: " UNION ".join(["SELECT 1,2,3"] * n),
    "intersections": lambda n: "SELECT 1" + " INTERSECT SELECT 1" * n,
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "parentheses unclosed": lambda n: "SELECT " + "(" * n,
    "parentheses around queries": lambda n: "(" * n + "SELECT 1" + ")" * n,
    "minuses": lambda n: "SELECT " + "- " * n + "1",
    "nots": lambda n: "SELECT " + "NOT " * n + "true",
    "casts": lambda n: "SELECT 1" + "::int" * n,
    "calls": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "calls with chains": lambda n: "SELECT " + "abs(1+1+1+" * n + "1" + ")" * n,
    "cases": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "1" + " END" * n,
    "case elses": lambda n: "SELECT " + "CASE WHEN true THEN 1 ELSE " * n + "1" + " END" * n,
    "subqueries": lambda n: "SELECT " + "(SELECT " * n + "1" + ")" * n,
    "subqueries in FROM": lambda n: "SELECT 1 FROM " + "(SELECT 1 FROM " * n + "a" + ") x" * n,
    "queries in WITH": lambda n: "WITH x AS (" * n + "SELECT 1" + ") SELECT 1" * n,
    "existences": lambda n: "SELECT " + "EXISTS(SELECT " * n + "1" + ")" * n,
    "joins": lambda n: "SELECT 1 FROM a" + " JOIN a ON true" * n,
    "joins in parentheses": lambda n: "SELECT 1 FROM " + "(" * n + "a" + " JOIN a ON true)" * n,
    "joins, right": lambda n: "SELECT 1 FROM " + "a JOIN " * n + "a" + " ON true" * n,
    "conjunctions": lambda n: "SELECT 1 WHERE " + " AND ".join(["a"] * n),
    "alternations": lambda n: "SELECT 1 WHERE " + "a OR b AND " * n + "c",
    "arrays": lambda n: "SELECT " + "ARRAY[" * n + "1" + "]" * n,
    "brackets": lambda n: "SELECT " + "ARRAY" + "[" * n + "1" + "]" * n,
    "subscripts": lambda n: "SELECT a" + "[1]" * n,
    "subscripts within": lambda n: "SELECT " + "a[" * n + "1" + "]" * n,
    "attributes": lambda n: "SELECT (a)" + ".a" * n,
    "null tests": lambda n: "SELECT 1" + " ISNULL" * n,
    "betweens": lambda n: "SELECT 1" + " BETWEEN 1 AND 1 IS NULL" * n,
    "likes": lambda n: "SELECT a" + " IS NULL LIKE a" * n,
    "collations": lambda n: "SELECT 'a'" + ' COLLATE "C"' * n,
    "zones": lambda n: "SELECT a" + " AT TIME ZONE 'x'" * n,
    "json tests": lambda n: "SELECT a" + " IS JSON" * n,
    "rows": lambda n: "SELECT " + "ROW(" * n + "1" + ")" * n,
    "lists": lambda n: "SELECT " + "1 IN (" * n + "1" + ")" * n,
    "filters": lambda n: "SELECT " + "count(*) FILTER (WHERE " * n + "true" + ")" * n,
    "windows": lambda n: "SELECT " + "count(*) OVER (ORDER BY " * n + "1" + ")" * n,
    "type modifiers": lambda n: "SELECT 1::" + "numeric(1::" * n + "int" + ")" * n,
    "grouping sets": lambda n: "SELECT 1 GROUP BY " + "GROUPING SETS (" * n + "a" + ")" * n,
    "json objects": lambda n: "SELECT " + "JSON_OBJECT('a' : " * n + "1" + ")" * n,
    "json tables": lambda n: "SELECT 1 FROM JSON_TABLE(a, '$' COLUMNS ("
    + "NESTED '$' COLUMNS (" * n + "b int" + ")" * n + "))",
    "columns assigned at once": lambda n: f"UPDATE t SET ({','.join(['a'] * n)})=({','.join(['1'] * n)})",
    "columns assigned from a query": lambda n: f"UPDATE t SET ({','.join(['a'] * n)})/**/=(SELECT {','.join(['1'] * n)})",
    "columns assigned, from a call of set": lambda n: f"UPDATE t SET ({','.join(['a'] * n)})=set(a,a)=(1{',1' * n})",
    "columns assigned after others": lambda n: f"UPDATE t SET b=1,({','.join(['a'] * n)})=({','.join(['1'] * n)})",
    "columns assigned on conflict": lambda n: "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET"
    f" ({','.join(['a'] * n)})=({','.join(['1'] * n)})",
    "columns assigned in a merge": lambda n: "MERGE INTO t USING t s ON true WHEN MATCHED THEN UPDATE SET"
    f" ({','.join(['a'] * n)})=({','.join(['1'] * n)})",
    "assignments within assignments": lambda n: "WITH x AS (UPDATE t SET (a,a)=(" * n + "SELECT 1"
    + ") RETURNING 1) SELECT 1" * n,
    "signs": lambda n: "SELECT " + "+-" * n + "1",
    "pluses": lambda n: "SELECT " + "+" * n + "1",
    "signs in many runs": lambda n: "SELECT 1" + (" " + "+-" * 500 + "1") * (n // 1000 + 1),
    "operators": lambda n: "SELECT 1 " + "*" * n + "1",
    "comments within": lambda n: "SELECT " + "/*" * n + "*/" * n + "1",
    "comments after operators": lambda n: "SELECT 1" + "+/*" * n + "*/" * n + "1",
    "comments unclosed": lambda n: "SELECT 1 " + "/*" * n,
    "quotes": lambda n: "SELECT " + "'" * n,
    "dollars": lambda n: "SELECT $a$" + "$b" * n,
    "strings continued": lambda n: "SELECT 'a'" + "\n'a'" * n,
    "blanks": lambda n: "SELECT 'a'" + "\n" * n + "1",
    "digits": lambda n: "SELECT " + "1" * n,
    "digits and dots": lambda n: "SELECT " + "1." * n,
    "exponents": lambda n: "SELECT " + "1e+" * n,
    "underscores": lambda n: "SELECT 1" + "_1" * n,
    "escapes": lambda n: "SELECT U&'" + "\\0041" * n + "'",
    "semicolons": lambda n: ";" * n,
    "statements": lambda n: "SELECT 1;" * n,
    "commas": lambda n: "SELECT " + ",".join(["a"] * n),
    "names": lambda n: "SELECT " + ".".join(["a"] * n),
    "long names": lambda n: "SELECT " + "a" * n,
    "parameters": lambda n: "SELECT $" + "9" * n,
}  # fmt: skip


async def in_child(what: str, bomb: str, size: int) -> tuple[int, str]:
    """Give the bomb to *what* in a process of its own: its exit status (negative: the signal), and what it said."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.bombs", what, bomb, str(size),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


def _judge(text: str) -> str:
    from guard.catalog import catalog  # noqa: PLC0415 - each child imports what it is about to lose
    from guard.errors import StatementForbidden, StatementTooComplex, StatementUnreadable  # noqa: PLC0415
    from guard.verdict import judge  # noqa: PLC0415
    from tiergate.tenant import Tier  # noqa: PLC0415

    known = catalog(Tier.STANDARD, ["app"])
    began = time.process_time()
    try:
        judge(text, known)
        answer = "passed"
    except (StatementForbidden, StatementTooComplex, StatementUnreadable) as refusal:
        answer = type(refusal).__name__
    return f"{answer} {time.process_time() - began:.3f}"


def _main(what: str, bomb: str, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    text = BOMBS[bomb](size)
    if what == "judge":
        sys.stdout.write(_judge(text))
        return
    import postgast  # noqa: PLC0415 - as above

    (postgast.parse if what == "parse" else postgast.scan)(text)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
