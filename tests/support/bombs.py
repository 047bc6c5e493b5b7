"""Texts made to harm whoever reads them, and a process that may be lost to them.

`python -m tests.support.bombs guarded` reads kinds and sizes from its input, one pair
a line, and judges each text; `… bare` parses it without the guard. Both do so in a
thread of 1 MiB of stack, which is the smallest that a usual system gives, and within
a bounded address space. What they answer, and how long it took, is one line of JSON each.
"""

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator

import postgast

from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementNotPassed
from guard.verdict import Guard
from tiergate.tenant import Tier

STACK_BYTES = 1024 * 1024
MEMORY_BYTES = 1024 * 1024 * 1024
SIZES = (500, 1_000, 2_000, 3_999, 4_200, 8_000, 19_000, 32_000, 65_000, 200_000)


def nested(
    before: str, inner: str, after: str = "", *, start: str = "SELECT ", end: str = ""
) -> tuple[str, ...]:
    return start, before, inner, after, end


NESTED = {
    "plus": nested("", "1", "+1"),
    "minus": nested("- ", "a"),
    "prefix operator": nested("@ ", "a"),
    "suffix of joined operators": nested("", "a", "||a"),
    "not": nested("NOT ", "a"),
    "cast": nested("", "a", "::a"),
    "cast with modifier": nested("", "a", "::a(1)"),
    "cast call": nested("CAST(", "a", " AS a)"),
    "is null": nested("", "a", " ISNULL"),
    "is true": nested("", "a", " IS TRUE"),
    "collate": nested("", "a", " COLLATE a"),
    "at time zone": nested("", "a", " AT TIME ZONE a"),
    "between": nested("a BETWEEN 1 AND 1 AND ", "a"),
    "like": nested("", "a", " LIKE (a)"),
    "and, or": nested("1 AND(1 OR(", "1", "))"),
    "or": nested("", "a", " OR a=1"),
    "row comparisons": nested("", "a", " OR (a,a)=(1,1)"),
    "union": nested("", "1", " UNION SELECT 1"),
    "union of lists": nested("", "1,2", " UNION SELECT 1,2"),
    "except tables": nested("", "a", " EXCEPT TABLE a", start="TABLE "),
    "union of values": nested("", "(1)", " UNION ALL VALUES (1)", start="VALUES "),
    "union in brackets": nested("(", "SELECT 1", " UNION SELECT 1)", start=""),
    "cross join": nested("", "a", " CROSS JOIN a", start="SELECT FROM "),
    "natural join": nested("", "a", " NATURAL JOIN a", start="SELECT FROM "),
    "join on": nested("", "a", " JOIN a ON a=1 AND b=1", start="SELECT FROM "),
    "join, on later": nested("JOIN a ", "", "ON a ", start="SELECT FROM a "),
    "join using": nested("", "a", " JOIN a USING (a,b)", start="SELECT FROM "),
    "join in brackets": nested("(", "a", " CROSS JOIN a)", start="SELECT FROM "),
    "query": nested("(SELECT ", "1", ")"),
    "query in brackets": nested("(", "SELECT 1", ")", start=""),
    "exists": nested("EXISTS(SELECT ", "1", ")"),
    "in query": nested("a IN(SELECT ", "1", ")"),
    "any query": nested("a=ANY(SELECT ", "1", ")"),
    "from query": nested("(SELECT FROM ", "a", ")", start="SELECT FROM "),
    "lateral": nested("LATERAL(SELECT FROM ", "a", ")a", start="SELECT FROM "),
    "call": nested("f(", "1", ")"),
    "call with a list": nested("f(1,", "1", ",1)"),
    "named argument": nested("f(a=>", "1", ")"),
    "row": nested("(1,", "1", ")"),
    "array": nested("[", "1", "]", start="SELECT ARRAY"),
    "subscript": nested("a[", "1", "]"),
    "slice": nested("a[1:", "1", "]"),
    "subscripts in a row": nested("", "a", "[1]"),
    "field": nested("(", "a", ").a"),
    "brackets": nested("(", "a", ")"),
    "brackets left open": nested("(", "a"),
    "brackets that do not match": nested("(", "a", "]"),
    "case when": nested("CASE WHEN ", "1", " THEN 1 END"),
    "case else": nested("CASE WHEN a THEN a ELSE ", "1", " END"),
    "case branches": nested("", "CASE", " WHEN a THEN 1", end=" END"),
    "labels like case and end": nested("", "a", "+a.case+1+1+1+a.end"),
    "coalesce": nested("COALESCE(", "1", ")"),
    "greatest": nested("GREATEST(1,", "1", ")"),
    "in list": nested("a IN(", "1", ")"),
    "long in list": nested("", "a IN(1", ",1", end=")"),
    "over": nested("f()OVER(ORDER BY ", "1", ")"),
    "filter": nested("f()FILTER(WHERE ", "1", ")"),
    "within group": nested("f()WITHIN GROUP(ORDER BY ", "1", ")"),
    "with": nested("WITH a AS(", "SELECT 1", ")SELECT", start=""),
    "with, side by side": nested("", "a AS(SELECT)", ",a AS(SELECT)", start="WITH ", end=" SELECT"),
    "rollup": nested("ROLLUP(", "1", ")", start="SELECT GROUP BY "),
    "grouping sets": nested("GROUPING SETS(", "1", ")", start="SELECT GROUP BY "),
    "json array": nested("JSON_ARRAY(", "1", ")"),
    "json array of a query": nested("JSON_ARRAY(SELECT ", "1", ")"),
    "json object": nested("JSON_OBJECT(1:", "1", ")"),
    "json value": nested("JSON_VALUE(", "1", ",'$')"),
    "json table": nested("JSON_TABLE(", "1", ",'$' COLUMNS(a int))", start="SELECT FROM "),
    "json nested columns": nested(
        "COLUMNS(a int,NESTED '$'", " COLUMNS(a int)", ")", start="SELECT FROM JSON_TABLE(1,'$'", end=")"
    ),
    "substring": nested("SUBSTRING(", "a", " FROM 1)"),
    "values": nested("", "(1)", ",(1)", start="VALUES "),
    "columns": nested("", "a", ",a"),
    "tables": nested("", "a", ",a", start="SELECT FROM "),
    "merge branches": nested("", "", " WHEN MATCHED THEN DELETE", start="MERGE INTO a USING a ON a"),
    "set": nested("", "a=1", ",a=1", start="UPDATE a SET "),
    "set, written twice": nested("", "(a,a)=(1,1)", ",(a,a)=(1,1)", start="UPDATE a SET "),
    "set, doubling": nested("WITH x AS(UPDATE t SET (a,a)=(", "1,1", ")RETURNING 1)SELECT 1,1", start=""),
    "set, doubling queries": nested("UPDATE t SET (a,a)=(WITH x AS(", "SELECT 1,1", ")SELECT 1,1)", start=""),
    "set, doubling merges": nested(
        "MERGE INTO t USING t ON a WHEN MATCHED THEN UPDATE SET (a,a)=(WITH x AS(",
        "SELECT",
        ")SELECT 1,1)",
        start="",
    ),
    "set, doubling behind comments": nested(
        "UPDATE t SET (a,a)/**/=(WITH x AS(", "SELECT", ")SELECT 1,1)", start=""
    ),
    "set, doubling behind lines": nested(
        "UPDATE t SET (a,a)--)\n=(WITH x AS(", "SELECT", ")SELECT 1,1)", start=""
    ),
    "operators": nested("+-", "+1"),
    "operators, one kind": nested("+", "1"),
    "comment openings": nested("/*", "", start="SELECT 1 "),
    "comment openings, closed": nested("/*", "", "*/", start="SELECT 1 "),
    "slashes and stars": nested("*/", "", start="SELECT 1 "),
    "operators and comments": nested("+/**/", "1"),
    "comment lines": nested("--\n", "1"),
    "strings that go on": nested("'a'\n", "'a'"),
    "quotes": nested("'", ""),
    "dollar quotes": nested("$a$", ""),
    "dollars": nested("$", ""),
    "unicode": nested("U&'\\00e4' ", "1"),
    "digits": nested("1", "1"),
    "parameter": nested("$1,", "$268435455"),
    "long name": nested("a", "a"),
    "long dotted name": nested("a.", "a"),
    "semicolons": nested(";", ""),
    "statements": nested("SELECT 1;", "", start=""),
    "others' statements": nested("", "a a", ",a a", start="CREATE TABLE a(", end=")"),
    "letters of four bytes": nested("𐍈", "a"),
    "blanks": nested(" ", "1"),
}  # fmt: skip


def wide_set(size: int) -> str:
    n = size // 4
    return f"UPDATE t SET ({','.join('a' * n)})=({','.join('1' * n)})"


def deep_wide_set(size: int) -> str:
    return nest(
        nested(f"UPDATE t SET ({','.join('a' * 40)})=(WITH x AS(", "SELECT", ")SELECT 1)", start=""), size
    )


def nest(parts: tuple[str, ...], size: int) -> str:
    start, before, inner, after, end = parts
    times = max(1, (size - len(start + inner + end)) // len(before + after))
    return start + before * times + inner + after * times + end


def bomb(kind: str, size: int) -> str:
    """A text of about *size* characters."""
    if kind in OTHERS:
        return OTHERS[kind](size)
    return nest(NESTED[kind], size)


OTHERS: dict[str, Callable[[int], str]] = {
    "set, wide": wide_set,
    "set, wide and deep": deep_wide_set,
    "set, a wide one after a deep one": lambda size: (
        f"UPDATE t SET a=({nest(NESTED['query'], size // 2)}), {wide_set(size // 2)[13:]}"
    ),
    "a NUL": lambda size: f"SELECT 1 {'-' * size}\0 PERFORM",
    "half a pair": lambda size: f"SELECT '{'x' * size}\ud800'",
    "two deep ones in a row": lambda size: (
        f"{nest(NESTED['call'], size // 2)}+{nest(NESTED['call'], size // 2)[7:]}"
    ),
    "deep, then long": lambda size: f"{nest(NESTED['call'], size // 2)}{'+1' * (size // 4)}",
}
KINDS = (*NESTED, *OTHERS)


def guarded() -> Callable[[str], str]:
    judged = Guard({Tier.STANDARD: catalog(Additions(), schemas=frozenset({"app"}), explain=False)})

    def read(text: str) -> str:
        try:
            judged.judge(text, Tier.STANDARD)
        except StatementNotPassed as exc:
            return exc.code
        return "passed"

    return read


def bare(text: str) -> str:
    try:
        postgast.parse(text)
    except postgast.PgQueryError:
        return "unreadable"
    return "parsed"


def read_all(read: Callable[[str], str], wanted: Iterator[str]) -> None:
    for line in wanted:
        kind, size = json.loads(line)
        text = bomb(kind, size)
        started_s = time.perf_counter()
        said = read(text)
        print(json.dumps([kind, size, said, time.perf_counter() - started_s]), flush=True)  # noqa: T201 - its answer


def main() -> None:
    read = guarded() if sys.argv[1] == "guarded" else bare
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=read_all, args=(read, iter(sys.stdin)))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
