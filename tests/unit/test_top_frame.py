"""A frame fits its terminal, whatever there is to show, and shows what was chosen."""

import random

import pytest
from rich.cells import cell_len

from tests.support.sights import metrics, move, process, sample, tenant, view
from tiergate.cli.top.frame import Shown, chosen, duration, frame, pace
from tiergate.cli.top.state import Page, Sort, State, keys_in, press
from tiergate.cli.top.table import crop, wrap
from tiergate.cli.top.view import View

MANY = view(
    sample(0, metrics(10)),
    sample(
        2,
        metrics(1_000_000, queue_full=500_000),
        processes=[process(used=10, waiting=5), process(is_silent=True)],
        tenants=[
            tenant(f"t{number:05}", requests_per_s=float(number), waiting=1, oldest_s=5.0, error="queue-full")
            for number in range(500)
        ]
        + [tenant("\u6f22\u5b57\u202e\x1b[31m" * 9, errors_per_s=9.0, error="x" * 90)],
        moves=[move(error="no\nroom " * 40), move(tenant="z" * 63)],
        orders=[{"verb": "pause", "tenant": "acme", "actor": "cli:ann", "left_s": 200.0}],
    ),
)
SIZES = [(1, 1), (2, 3), (10, 5), (40, 12), (60, 24), (79, 23), (80, 24), (81, 25), (120, 50), (300, 99)]
NOTHING = view(sample(processes=[]))


def plain(seen: View | None, state: State, width: int = 80, height: int = 24, silence: str = "") -> list[str]:
    return [line.plain for line in frame(Shown("http://gw:8081", 2, seen, silence), state, width, height)]


def type_in(keys: str, state: State | None = None) -> State:
    state = state or State()
    for key in keys_in(keys):
        state = press(state, key)
    return state


@pytest.mark.parametrize("seen", [MANY, NOTHING, None], ids=["many", "nothing", "no answer yet"])
@pytest.mark.parametrize("page", Page)
def test_a_frame_is_never_larger_than_its_terminal(seen: View | None, page: Page) -> None:
    for width, height in SIZES:
        for by_pool in (False, True):
            lines = plain(seen, State(page=page, by_pool=by_pool), width, height, "no answer in time")

            assert len(lines) == height
            assert max(cell_len(line) for line in lines) <= width
            assert not any(character in line for line in lines for character in "\x1b\n\t\u202e")


def test_at_80_by_24_everything_is_there_in_the_midst_of_trouble() -> None:
    text = "\n".join(plain(MANY, State()))

    for part in (
        "tiergate top",
        "-> tiergate",
        "TIER",
        "CLUSTER",
        "MOVE",
        "TENANT",
        "t00499",
        "q quit",
        "p99",
    ):
        assert part in text, part


def test_who_waits_is_on_the_screen_with_zero_load_and_without_an_answer() -> None:
    assert " Nobody asks for anything." in plain(NOTHING, State())
    assert any(
        "does not answer: no answer in time" in line
        for line in plain(None, State(), silence="no answer in time")
    )
    assert any(
        " Not told: no-such-route." in line
        for line in plain(view(sample(refused={"/busiest": "no-such-route"})), State())
    )


@pytest.mark.parametrize(
    ("sort", "first"),
    [(Sort.REQUESTS, "asks"), (Sort.ERRORS, "fails"), (Sort.WAITING, "waits"), (Sort.TIME, "works")],
)
def test_tenants_are_sorted_by_what_was_chosen(sort: Sort, first: str) -> None:
    tenants = [
        tenant("asks", requests_per_s=99.0), tenant("fails", errors_per_s=5.0),
        tenant("waits", waiting=4), tenant("works", connections=4.0), tenant("b"), tenant("a"),
    ]  # fmt: skip
    random.shuffle(tenants)

    names = [each["tenant"] for each in chosen(tenants, State(sort))]
    assert names[0] == first
    assert names.index("a") < names.index("b")


def test_the_filter_goes_by_tenant_tier_and_cluster() -> None:
    tenants = [
        tenant("acme"),
        tenant("globex", tier="premium", cluster="p-1"),
        tenant("lost", tier=None, cluster=None),
    ]

    def found(text: str) -> list[str]:
        return [each["tenant"] for each in chosen(tenants, State(filter=text))]

    assert [found(text) for text in ("AC", "prem", "p-1", "no")] == [["acme"], ["globex"], ["globex"], []]
    assert len(found("")) == 3


def test_keys_choose() -> None:
    assert [type_in("s" * times).sort for times in range(5)] == [*Sort, Sort.REQUESTS]
    assert [type_in(key).sort for key in "rewt"] == list(Sort)
    assert (type_in("p").is_paused, type_in("pp").is_paused, type_in(" ").is_paused) == (True, False, True)
    assert (type_in("h").page, type_in("?x").page, type_in("a").page) == (Page.HELP, Page.ALL, Page.TROUBLE)
    assert (type_in("c").by_pool, type_in("q").is_over, type_in("hq").is_over) == (True, True, True)
    assert type_in("\x1b[A\x1bOB\x1b[15~\x1b[1;5Cz\x01") == State()


def test_what_is_typed_into_the_filter_is_text_until_enter_or_escape() -> None:
    assert type_in("/sq\x7fx") == State(filter="sx", is_typing=True)
    assert type_in("/sq\r") == State(filter="sq")
    assert type_in("/sq\rq").is_over
    assert type_in("/sq\x1b") == State()
    assert type_in("/sq\r\x1b") == State()
    assert len(type_in("/" + "x" * 500).filter) == 63
    assert type_in("/\x1b[Ax") == State(filter="x", is_typing=True)


def test_pools_take_the_place_of_clusters() -> None:
    lines = plain(MANY, type_in("c"))

    assert any(line.startswith(" POOL") for line in lines)
    assert any("pl_1" in line for line in lines)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (pace(0), "0.0"), (pace(99.94), "99.9"), (pace(812.4), "812"), (pace(123_456), "123k"),
        (duration(None), "-"), (duration(0.0004), "0.4ms"), (duration(0.25), "250ms"),
        (duration(1.25), "1.2s"),
        (duration(500), "500s"),
    ],
)  # fmt: skip
def test_numbers_are_short(said: str, expected: str) -> None:
    assert said == expected


def test_words_stay_whole_where_there_is_room_and_nothing_is_wider_than_its_line() -> None:
    assert wrap("one two three", 8, most=3) == ["one two", "three"]
    assert wrap("one two three", 8, most=1) == ["one two"]
    assert wrap("onetwothree", 8, most=3) == ["onetwoth", "ree"]
    assert (crop("a\x1b[2Jb", 99), crop("ab", 4, fill=True)) == ("a\\x1b[2Jb", "ab  ")
