"""Which requests are recorded, and that recording never waits for who takes the spans."""

import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from guard.fingerprint import shape
from observe.parents import Parent
from observe.spans import MOST_TRAILS, Spans
from observe.trails import LONGEST_TEXT, MOST_STATEMENTS, Tracer, Trail
from tiergate.events import RequestAnswered

ANSWERED = RequestAnswered("r", None, None, "ok", 200, 0.0, 0.0, 0.0, 0.0, 0.001)
SAMPLED, UNSAMPLED = (Parent("a" * 32, "b" * 16, flags) for flags in (1, 0))


def put(_trail: Trail) -> None:
    """Take it."""


@pytest.mark.parametrize(
    ("tracer", "parent", "is_recorded"),
    [
        (Tracer(0.0, comments=False, export=put), SAMPLED, True),
        (Tracer(1.0, comments=False, export=put), UNSAMPLED, False),
        (Tracer(1.0, comments=False, export=put), None, True),
        (Tracer(0.0, comments=False, export=put), None, False),
        (Tracer(1.0, comments=True), None, False),
        (Tracer(0.0, comments=True), SAMPLED, True),
    ],
)
def test_the_parent_decides_and_without_one_the_share(
    tracer: Tracer, parent: Parent | None, *, is_recorded: bool
) -> None:
    assert (tracer.begin(time.monotonic(), parent) is not None) is is_recorded


def test_the_share_is_kept_roughly() -> None:
    tracer = Tracer(0.25, comments=False, export=put)

    assert 350 < sum(tracer.begin(0.0, None) is not None for _ in range(2000)) < 650


def test_where_no_span_of_ours_will_be_the_caller_s_own_goes_into_the_comment() -> None:
    trail = Tracer(0.0, comments=True).begin(0.0, SAMPLED)

    assert trail is not None
    assert trail.comment() == b" /*traceparent='00-%b-%b-01'*/" % (b"a" * 32, b"b" * 16)


def test_without_the_setting_there_is_no_comment() -> None:
    trail = Tracer(0.0, comments=False, export=put).begin(0.0, SAMPLED)

    assert trail is not None
    assert trail.comment() == b""


def test_of_a_huge_batch_little_is_kept() -> None:
    trail = Tracer(0.0, comments=False, export=put).begin(0.0, SAMPLED)
    assert trail is not None
    trail.work("app", ["x" * (LONGEST_TEXT + 1)] * 1000, dialled_s=0.0)
    kept = trail.hops[-1]

    assert (len(kept.statements), kept.count) == (MOST_STATEMENTS, 1000)
    assert {ran.text for ran in kept.statements} == {None}


class Stuck:
    """A receiver that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.is_asked, self.goes_on = threading.Event(), threading.Event()

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_asked.set()
        self.goes_on.wait(20)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.goes_on.set()


def test_spans_that_nobody_takes_are_lost_and_counted_and_nobody_waits() -> None:
    stuck = Stuck()
    spans = Spans("http://127.0.0.1:9/v1/traces", "0", shape, close_s=0.0)
    spans._exporter = stuck  # type: ignore[assignment]  # stands still, where the real one would give up
    tracer = Tracer(1.0, comments=False, export=spans.put)
    with spans:
        for _ in range(20):  # more than one batch
            end_one(tracer)
        assert stuck.is_asked.wait(20)
        began = time.monotonic()
        for _ in range(MOST_TRAILS + 1000):
            end_one(tracer)
        took_s = time.monotonic() - began
        lost, again = spans.take_lost(), spans.take_lost()

    assert 1000 <= lost <= 1020
    assert again == 0
    assert took_s < 2


def end_one(tracer: Tracer) -> None:
    trail = tracer.begin(time.monotonic(), None)
    assert trail is not None
    trail.enter("identify")
    trail.end(ANSWERED)


def test_a_fingerprint_is_that_of_the_shape_and_its_text_has_no_literal_and_no_comment() -> None:
    one, other = shape("SELECT 'a' /* b */ FROM t -- c"), shape("SELECT 'd'  FROM t")

    assert one is not None
    assert other is not None
    assert one.fingerprint == other.fingerprint
    assert one.text == "SELECT $1  FROM t"


@pytest.mark.parametrize("text", ["SELEC", "SELECT '", "\0", "SELECT 1" + "+1" * 30_000, "(" * 30_000])
def test_what_cannot_be_read_or_not_without_harm_has_no_shape(text: str) -> None:
    assert shape(text) is None
