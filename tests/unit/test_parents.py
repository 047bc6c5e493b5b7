"""Where a request comes from, by the letter of W3C Trace Context."""

import pytest

from observe.parents import Parent, parent_of, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def headers(*values: str, state: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    return [
        (b"host", b"gateway"),
        *((b"traceparent", value.encode("latin-1")) for value in values),
        *((b"tracestate", value.encode("latin-1")) for value in state),
    ]


def test_a_parent_is_read_as_it_is_written() -> None:
    parent = parent_of(headers(GOOD, state=("congo=t61rcWkgMzE",)))

    assert parent == Parent(TRACE, SPAN, 1, "congo=t61rcWkgMzE")
    assert parent.is_sampled
    assert traceparent(parent.trace_id, parent.span_id, parent.flags) == GOOD


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_only_the_last_flag_says_that_the_caller_records(flags: str, sampled: bool) -> None:  # noqa: FBT001 - the expectation
    parent = parent_of(headers(f"00-{TRACE}-{SPAN}-{flags}"))

    assert parent is not None
    assert parent.is_sampled is sampled


@pytest.mark.parametrize("more", ["", "-", "-what-a-later-version-says"])
def test_a_later_version_is_read_as_far_as_it_is_known(more: str) -> None:
    assert parent_of(headers(f"cc-{TRACE}-{SPAN}-01{more}")) == Parent(TRACE, SPAN, 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        GOOD.upper(),
        f"ff{GOOD[2:]}",
        f"0{GOOD[2:]}",
        f"{GOOD}-",
        f"{GOOD}-more",
        f"{GOOD} ",
        f"{GOOD}\n",
        f"cc{GOOD[2:]}more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}'*/-01",
        f"00_{TRACE}_{SPAN}_01",
        "\xe4" * 55,
    ],
)
def test_what_is_malformed_is_as_if_it_were_not_there(value: str) -> None:
    assert parent_of(headers(value)) is None


def test_several_parents_are_none() -> None:
    assert parent_of(headers(GOOD, GOOD)) is None
    assert parent_of(headers()) is None


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (("a=1", "b=2"), "a=1,b=2"),
        (("a=1 , b=2,,",), "a=1,b=2"),
        (("0tenant@vendor=a b!",), "0tenant@vendor=a b!"),
        ((",".join(f"k{n}=v" for n in range(32)),), ",".join(f"k{n}=v" for n in range(32))),
        ((",".join(f"k{n}=v" for n in range(33)),), ""),
        (("a=1,a=2",), ""),
        (("A=1",), ""),
        (("a",), ""),
        (("a=",), ""),
        (("a=1=2",), ""),
        (("a=\xe9",), ""),
        (("a=" + "x" * 257,), ""),
        (("a=" + "x" * 256, "b=" + "x" * 256), ""),
    ],
)
def test_a_state_is_passed_on_whole_or_not_at_all(written: tuple[str, ...], kept: str) -> None:
    assert parent_of(headers(GOOD, state=written)) == Parent(TRACE, SPAN, 1, kept)
