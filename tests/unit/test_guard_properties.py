"""What holds of every text, whatever it says, as far as chance finds it out."""

from collections.abc import Iterator
from typing import Any

import postgast
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from guard.additions import Additions
from guard.catalog import catalog
from guard.errors import StatementNotPassed
from guard.verdict import Guard
from tests.support.hostile import PAYLOADS, POSITIONS
from tests.support.passing import PASSING
from tiergate.tenant import Tier

LISTS = catalog(Additions(), schemas=frozenset({"public", "app"}), explain=False)
GUARD = Guard({Tier.STANDARD: LISTS})
FOREVER = None
OWN_SCHEMAS = (["public"], ["app"])
SYSTEM_COLUMNS = {"ctid", "xmin", "tableoid"}
# None of them is harmless after a dot, either.
FORBIDDEN = (
    "pg_sleep", "pg_class", "pg_terminate_backend", "current_setting", "nextval", "lo_get", "dblink",
    "regclass", "xid", "xml", "ctid", "xmin", "tableoid", "ts_stat",
)  # fmt: skip
NAMED = st.sampled_from([*FORBIDDEN, *(f'"{name}"' for name in FORBIDDEN)])
PLACES = """
{}|.{}|::{}|{}(1)|pg_catalog.{}|app.{}|(a).{}|t.{}|AS x(a {})|FROM {}|JOIN {} ON true|USING ({})|COLLATE {}
OPERATOR({}.=) a|RETURNING {}|ORDER BY {}|, {}|CAST(a AS {})|{} '1'|AND a.{} = 1|FOR UPDATE OF {}|INTO {}
LATERAL {}(a)|(|)|[|]|,|;|.|::|=|+|-|*|$1|'a'|NULL|AS|AND|NOT|WITH|SELECT|FROM|WHERE|UNION|SET|a|t
"""
ONE_IN_FIVE = st.sampled_from((False, False, False, False, True))
PIECES = st.one_of(
    st.builds(str.format, st.sampled_from(PLACES.strip().replace("\n", "|").split("|")), NAMED),
    st.text(max_size=4),
)


def verdict(text: str) -> tuple[str, str, int] | None:
    try:
        GUARD.judge(text, Tier.STANDARD)
    except StatementNotPassed as exc:
        return exc.code, str(exc), exc.position
    return None


def words(text: str) -> list[str]:
    """Tokens as they are written."""
    source = text.encode()
    return [source[token.start : token.end].decode() for token in postgast.scan(text).tokens]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A statement that passes, with pieces put in, left out, doubled or exchanged, or its end cut off."""
    tokens = words(draw(st.sampled_from(PASSING)))
    if draw(st.booleans()):
        return " ".join(draw(NAMED) if word.isalpha() and draw(ONE_IN_FIVE) else word for word in tokens)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(tokens)))
        other = draw(st.integers(0, len(tokens)))
        first, last = sorted((at, other))
        match draw(st.sampled_from(("put in", "replace", "leave out", "double", "from another", "cut"))):
            case "put in":
                tokens.insert(at, draw(PIECES))
            case "replace":
                tokens[at : at + 1] = [draw(PIECES)]
            case "leave out":
                del tokens[at : at + draw(st.integers(1, 3))]
            case "double":
                tokens[first:first] = tokens[first:last]
            case "from another":
                elsewhere = words(draw(st.sampled_from(PASSING)))
                tokens[at:at] = elsewhere[: draw(st.integers(1, len(elsewhere)))]
            case _:
                del tokens[at:]
    return " ".join(tokens)


def named(node: Any) -> Iterator[str]:  # protobuf's messages come without types
    """Every name that is called, cast to or read from: by the other form of the tree, whatever holds it."""
    for field, value in node.ListFields():
        held = (
            [value] if isinstance(value, (str, int, float)) or hasattr(value, "ListFields") else list(value)
        )
        for each in held:
            if hasattr(each, "ListFields"):
                yield from named(each)
        if field.name in {"funcname", "names", "indirection"}:
            strings = list(_strings(held))
            # The application may have given a type of its own any name.
            if field.name != "names" or strings[:-1] not in OWN_SCHEMAS:
                yield from strings
        elif field.name == "fields":
            alone = len(held) == 1  # else the last may be a function, the others are none
            yield from (name for name in _strings(held[-1:]) if not alone or name in SYSTEM_COLUMNS)
        elif field.name == "schemaname" or (field.name == "relname" and value.startswith("pg_")):
            yield value


def _strings(parts: list[Any]) -> Iterator[str]:
    return (part.string.sval for part in parts if part.HasField("string"))


@given(st.text(max_size=200))
@run(deadline=FOREVER, max_examples=200)
def test_any_text_has_a_verdict(text: str) -> None:
    found = verdict(text)

    assert found == verdict(text)
    assert found is None or 1 <= found[2] <= len(text) + 1


@given(damaged())
@run(deadline=FOREVER, max_examples=1500)
def test_any_damaged_statement_has_a_verdict_and_keeps_it(text: str) -> None:
    found = verdict(text)

    assert found == verdict(text)
    assert found is None or 1 <= found[2] <= len(text) + 1


@given(damaged())
@run(deadline=FOREVER, max_examples=1500)
def test_what_passes_names_nothing_that_is_forbidden(text: str) -> None:
    if verdict(text) is None:
        found = set(named(postgast.parse(text)))

        assert found.isdisjoint(FORBIDDEN)


@given(st.sampled_from(POSITIONS), st.sampled_from(POSITIONS), st.sampled_from(PAYLOADS))
@run(deadline=FOREVER, max_examples=500)
def test_nothing_hides_a_payload_two_queries_deep(outer: str, inner: str, payload: str) -> None:
    query = inner.replace("{}", payload)
    text = outer.replace("{}", f"(WITH hidden AS ({query}) SELECT 1)")

    assert verdict(text) is not None


@given(st.sampled_from(PASSING), st.integers(0, 400))
@run(deadline=FOREVER, max_examples=300)
def test_a_truncated_statement_has_a_verdict(text: str, kept: int) -> None:
    found = verdict(text[:kept])

    assert found is None or 1 <= found[2] <= kept + 1


def test_the_names_are_found_in_the_other_form_of_the_tree() -> None:
    text = "SELECT pg_sleep(1), (a).oid, t.ctid, 'x'::regclass FROM pg_class"

    assert {"pg_sleep", "oid", "ctid", "regclass", "pg_class"} <= set(named(postgast.parse(text)))
