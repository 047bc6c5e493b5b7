"""Whether a statement may run: measured, parsed by Postgres's own grammar, and held against the lists.

Nothing here knows what tables there are, who asks, or what parameters are worth.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import orjson
from postgast.native import lib

from guard.catalog import Catalog
from guard.errors import StatementForbidden, StatementRefused, StatementTooComplex, StatementUnreadable
from guard.grammar import GRAMMAR, NODES, PLAIN, STATEMENTS, WORDS
from guard.measure import character, measure
from guard.names import Check, Forbidden, Node, checks
from tiergate.tenant import Tier

_REMEMBERED = 4096  # of each tier
_LONGEST_REMEMBERED = 4096
MOST_AT_ONCE = 4096
"""Characters of new texts that may keep an event loop waiting: 15 ms at worst, on an idle core."""
_PLAN_OPTIONS = frozenset(
    {"analyze", "verbose", "costs", "generic_plan", "buffers", "serialize", "wal", "timing", "summary"}
    | {"memory", "format"}
)


class Guard:
    """The lists of each tier, and the statements that were found to keep to them."""

    def __init__(self, catalogs: Mapping[Tier, Catalog]) -> None:
        self._judge = {tier: _judge_by(catalog) for tier, catalog in catalogs.items()}
        self._remembering = {tier: lru_cache(_REMEMBERED)(judge) for tier, judge in self._judge.items()}

    def judge(self, text: str, tier: Tier) -> None:
        """Return if *text* may run on *tier*.

        A long text that is new can take 100 ms, see `judge_now`. It does not hold the GIL while it is parsed.

        Raises:
            StatementForbidden: Something in it is not on the list.
            StatementRefused: It is not one statement of a kind that may run.
            StatementUnreadable: It is not in Postgres's grammar.
            StatementTooComplex: It is too long, deep or intricate to be judged.
        """
        (self._remembering if len(text) <= _LONGEST_REMEMBERED else self._judge)[tier](text)

    def judge_all(self, texts: Iterable[str], tier: Tier) -> None:
        """Return if each of *texts* may run on *tier*.

        Raises:
            StatementNotPassed: One of those above, for the first that may not.
        """
        for text in texts:
            self.judge(text, tier)

    def judge_now(self, texts: Sequence[str], tier: Tier) -> bool:
        """The same, but False when they are so long together that they should be judged in a thread.

        Raises:
            StatementNotPassed: One of those above.
        """
        if sum(map(len, texts)) > MOST_AT_ONCE:
            return False
        self.judge_all(texts, tier)
        return True


def parts(texts: Iterable[str]) -> Iterator[list[str]]:
    """*texts* in order, cut so that a part is as long as is judged at once, or is one longer text."""
    part: list[str] = []
    length = 0
    for text in texts:
        if part and length + len(text) > MOST_AT_ONCE:
            yield part
            part, length = [], 0
        part.append(text)
        length += len(text)
    if part:
        yield part


def _judge_by(catalog: Catalog) -> Callable[[str], None]:
    checked = checks(catalog)

    def judge(text: str) -> None:
        source = measure(text)
        name, statement, at = _statement(_parse(source), source)
        if name == "ExplainStmt" and catalog.explain:
            _check_options(statement, source)
            [(name, statement)] = statement["query"].items()
        if name not in STATEMENTS:
            what = _keyword(source, at)
            raise StatementRefused(f"{what} does not run here", character(source, at))
        _walk(name, statement, at, checked, source)

    return judge


def _parse(source: bytes) -> list[Node]:
    """The statements in *source*, as libpg_query writes them in JSON: three times as fast as protobuf."""
    result = lib.pg_query_parse(source)
    try:
        if result.error:
            error = result.error.contents
            said = (error.message or b"").decode(errors="replace")
            raise StatementUnreadable(said, max(1, error.cursorpos))
        tree: bytes = result.parse_tree
    finally:
        lib.pg_query_free_parse_result(result)
    try:
        statements: list[Node] = orjson.loads(tree).get("stmts", [])
    except orjson.JSONDecodeError as exc:  # it goes down 1,024 levels
        raise StatementTooComplex("it is nested too deep") from exc
    return statements


def _statement(statements: list[Node], source: bytes) -> tuple[str, Node, int]:
    """The class of the only statement, the statement, and the byte where it begins."""
    found = [each for each in statements if each.get("stmt")]
    if not found:
        raise StatementRefused("there is no statement in the text")
    if len(found) > 1:
        second = found[1].get("stmt_location", 0)
        raise StatementRefused("there is more than one statement", character(source, second))
    [(name, statement)] = found[0]["stmt"].items()
    return name, statement, found[0].get("stmt_location", 0)


def _keyword(source: bytes, at: int) -> str:
    words = source[at:].decode(errors="ignore").split(maxsplit=1)
    return words[0][:63].upper() if words and words[0].isalpha() else "this"


def _check_options(explain: Node, source: bytes) -> None:
    for each in explain.get("options", ()):
        option = each["DefElem"]
        if option["defname"] not in _PLAN_OPTIONS:
            at = character(source, option.get("location", 0))
            raise StatementForbidden("the option of EXPLAIN", option["defname"], at)


def _walk(  # noqa: C901 - cut into functions it takes twice as long
    name: str, node: Node, at: int, checked: Mapping[str, Check], source: bytes
) -> None:
    """Look at each node below *node*, itself included; not in the order of the text."""
    waiting = [(name, node, at)]
    push, pop = waiting.append, waiting.pop
    while waiting:
        name, node, at = pop()
        fields = GRAMMAR.get(name)
        if fields is None:
            raise _forbidden(Forbidden(WORDS.get(name, name)), at, source)
        if "location" in node and node["location"] >= 0:
            at = node["location"]
        for field, value in node.items():
            kind = fields.get(field)
            if kind is PLAIN:
                continue
            if kind is None:
                raise _forbidden(Forbidden(WORDS.get(field, f"{name}.{field}")), at, source)
            if kind is NODES:
                for each in value if type(value) is list else (value,):
                    for inner, held in each.items():
                        push((inner, held, at))
            else:
                push((kind, value, at))
        check = checked.get(name)
        if check is not None and (found := check(node)) is not None:
            raise _forbidden(found, at, source)


def _forbidden(found: Forbidden, at: int, source: bytes) -> StatementForbidden:
    return StatementForbidden(found.kind, found.name, character(source, at))
