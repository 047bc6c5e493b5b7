"""Names for prepared statements: earned by the second time, bounded, closed when they go."""

from hypothesis import given
from hypothesis import strategies as st

from pools.names import Names


def prepare(names: Names, text: bytes) -> bytes:
    """A name for *text*, asked for as often as it takes."""
    return names.get(text) or names.make(text) or names.make(text) or b""


def test_a_text_earns_a_name_when_it_comes_for_the_second_time() -> None:
    names = Names(10)

    assert names.make(b"a") is None
    assert names.get(b"a") is None
    assert names.make(b"a") == b"tg1"
    assert names.get(b"a") == b"tg1"


def test_a_limit_of_0_names_nothing() -> None:
    names = Names(0)

    assert [names.make(b"a") for _ in range(5)] == [None] * 5


def test_a_very_long_text_earns_no_name() -> None:
    """Each connection would keep it, and so would its server process."""
    names = Names(10)

    assert [names.make(b"a" * 20_000) for _ in range(5)] == [None] * 5


def test_the_least_recently_used_name_goes_and_is_closed() -> None:
    names = Names(2)
    first, second = prepare(names, b"a"), prepare(names, b"b")
    names.get(b"a")

    prepare(names, b"c")

    assert names.get(b"a") == first
    assert names.get(b"b") is None
    assert names.take_evicted() == [second]
    assert names.take_evicted() == []


def test_a_name_is_never_used_again() -> None:
    names = Names(1)

    given_out = [prepare(names, text) for text in (b"a", b"b", b"a", b"b")]

    assert len(set(given_out)) == 4


def test_a_forgotten_name_is_closed_only_where_the_server_has_it() -> None:
    names = Names(5)
    kept = prepare(names, b"a")
    prepare(names, b"b")

    names.forget(b"a", prepared=True)
    names.forget(b"b", prepared=False)
    names.forget(b"never heard of", prepared=True)

    assert names.take_evicted() == [kept]
    assert names.get(b"a") is None
    assert names.get(b"b") is None


@given(st.integers(0, 5), st.lists(st.tuples(st.sampled_from("gmf"), st.integers(0, 12)), max_size=200))
def test_the_server_never_has_more_names_than_the_limit_and_none_is_lost(
    limit: int, acts: list[tuple[str, int]]
) -> None:
    names = Names(limit)
    at_server: set[bytes] = set()
    for act, number in acts:
        text = b"%d" % number
        if act == "f":
            names.forget(text, prepared=True)
        elif (
            name := names.get(text) if act == "g" else None if names.get(text) else names.make(text)
        ) is not None:
            at_server.add(name)
        at_server -= set(names.take_evicted())

        assert len(at_server) <= limit

    kept = [names.get(b"%d" % number) for number in range(13)]
    assert at_server == {name for name in kept if name is not None}


def test_texts_seen_once_are_remembered_up_to_the_limit() -> None:
    names = Names(3)

    for number in range(100):
        names.make(b"%d" % number)

    assert names.make(b"0") is None
    assert names.make(b"99") is not None
