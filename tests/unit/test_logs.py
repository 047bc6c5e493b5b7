"""What the log says, and what it never says."""

import io
import logging
import os
import threading
import time
import warnings
from datetime import datetime

import orjson
import pytest

from observe.lines import MOST_LINES, LineWriter
from observe.logs import MOST_PER_S, Log
from observe.scrub import scrub
from tiergate.events import (
    AuditCut,
    AuditGrew,
    CacheAnswered,
    ConnectionOpened,
    DialFailed,
    Event,
    RegistryLost,
    RequestAnswered,
)
from tiergate.tenant import TenantId, Tier

Line = dict[str, object]


class Clock:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def lines_of(*events: Event, **settings: object) -> list[Line]:
    """The lines written for *events*."""
    stream = io.BytesIO()
    with LineWriter(stream) as writer:
        log = Log(writer, now=Clock(), **settings)  # type: ignore[arg-type]  # settings are checked by its own types
        for event in events:
            log(event)
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def answered(outcome: str = "ok", status: int = 200, total_s: float = 0.002) -> RequestAnswered:
    """One request's end."""
    return RequestAnswered(
        "r1", TenantId("acme"), Tier.STANDARD, outcome, status, 0.0001, 0.0, 0.0, 0.001, total_s
    )


def test_a_line_says_who_asked_and_where_the_time_went() -> None:
    (line,) = lines_of(answered(), requests="all")
    moment = datetime.fromisoformat(str(line.pop("time")))

    assert moment.utcoffset() is not None
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "r1",
        "trace_id": None,
        "tenant": "acme",
        "tier": "standard",
        "outcome": "ok",
        "status": 200,
        "ms": 2.0,
        "auth_ms": 0.1,
        "queue_ms": 0.0,
        "connect_ms": 0.0,
        "database_ms": 1.0,
        "rows": 0,
        "bytes_in": 0,
        "bytes_out": 0,
    }


@pytest.mark.parametrize(
    ("requests", "outcomes"),
    [("none", []), ("failed", ["unknown-key"]), ("all", ["ok", "unknown-key"])],
)
def test_requests_are_told_as_the_operator_chose(requests: str, outcomes: list[str]) -> None:
    told = lines_of(answered(), answered("unknown-key", 401), requests=requests)

    assert [line["outcome"] for line in told] == outcomes


def test_each_entry_of_the_audit_is_told_with_the_head_to_remember() -> None:
    grown, cut = lines_of(AuditGrew(42, "42:cd", "tenant.create"), AuditCut("42:cd", "41:ab"))

    assert (grown["level"], grown["event"], grown["head"]) == ("info", "audit", "42:cd")
    assert (cut["level"], cut["event"], cut["found"]) == ("error", "audit-cut", "41:ab")


def test_our_own_fault_weighs_more_than_the_callers() -> None:
    told = lines_of(answered("unknown-key", 401), answered("pool-exhausted", 503))

    assert [line["level"] for line in told] == ["warning", "error"]


def test_a_slow_request_is_told_though_it_succeeded() -> None:
    (line,) = lines_of(answered(total_s=0.2), answered(total_s=3.0), slow_s=0.5)

    assert (line["level"], line["ms"], line["slow"]) == ("warning", 3000.0, True)


def test_what_weighs_less_than_the_level_is_left_out() -> None:
    events = (ConnectionOpened("c1", Tier.PREMIUM, 0.01), RegistryLost("refused"), CacheAnswered("a", "hit"))

    assert [line["event"] for line in lines_of(*events, level="info")] == ["registry-lost"]
    assert [line["event"] for line in lines_of(*events, level="debug")] == [
        "connection-opened",
        "registry-lost",
    ]


def test_the_settings_may_change_while_running() -> None:
    stream = io.BytesIO()
    with LineWriter(stream) as writer:
        log = Log(writer, requests="failed")
        log(answered())
        log.requests = "all"
        log(answered())

    assert len(stream.getvalue().splitlines()) == 1


def test_a_flood_of_one_error_is_told_by_its_count() -> None:
    stream, clock = io.BytesIO(), Clock()
    with LineWriter(stream) as writer:
        log = Log(writer, now=clock)
        for _ in range(1000):
            log(answered("queue-full", 503))
        log(answered("pool-exhausted", 503))
        clock.now_s += 1.01
        log(answered())
    told = [orjson.loads(line) for line in stream.getvalue().splitlines()]

    assert [line["outcome"] for line in told[:-1]] == ["queue-full"] * MOST_PER_S + ["pool-exhausted"]
    assert (told[-1]["event"], told[-1]["code"], told[-1]["count"]) == ("suppressed", "queue-full", 990)


def test_what_libraries_log_becomes_lines() -> None:
    stream = io.BytesIO()
    with LineWriter(stream) as writer, Log(writer).bridge():
        logging.getLogger("uvicorn.error").warning("port %s is busy", 8080)
        logging.getLogger("uvicorn.error").info("started")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old way", DeprecationWarning, stacklevel=1)
    told = [orjson.loads(line) for line in stream.getvalue().splitlines()]

    assert (told[0]["logger"], told[0]["message"]) == ("uvicorn.error", "port 8080 is busy")
    assert told[1]["logger"] == "py.warnings"
    assert len(told) == 2


def test_the_words_of_a_logged_exception_are_not_repeated() -> None:
    stream = io.BytesIO()
    with LineWriter(stream) as writer, Log(writer).bridge():
        try:
            int("DETAIL: Key (email)=(ann@example.com) already exists")
        except ValueError as error:
            logging.getLogger("asyncio").exception("Task failed: %s", error)  # noqa: TRY401 - as asyncio words it
    (line,) = [orjson.loads(line) for line in stream.getvalue().splitlines()]

    assert "ann@example.com" not in stream.getvalue().decode()
    assert (line["exception"], line["message"]) == ("ValueError", "Task failed: ValueError")
    assert "test_logs.py" in line["frames"][-1]


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://app:s3cret@db/x",
        "cannot reach postgresql://app:at@s3cret@db/x",
        "connection failed: host=db password=s3cret dbname=x",
        "connection failed: password='it\\'s s3cret' dbname=x",
        "header Authorization: Bearer s3cret refused",
        "key tg_abcdefghijkl_s3cret is not valid",
        "token eyJhbGciOi.s3cret.c2ln refused",
    ],
)
def test_secrets_in_the_words_of_others_are_hidden(text: str) -> None:
    (line,) = lines_of(DialFailed("c1", Tier.STANDARD, text))

    assert "s3cret" not in orjson.dumps(line).decode()
    assert str(line["error"]).startswith(text.split(maxsplit=1)[0])


def test_a_huge_text_is_cut() -> None:
    assert len(scrub("x" * 1_000_000)) == 2_000


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "wb") as stream, os.fdopen(read_fd, "rb") as reader:
        with LineWriter(stream) as writer:
            before_s = time.perf_counter()
            for number in range(MOST_LINES + 5_000):
                writer.write({"number": number, "filler": "x" * 100})
            took_s = time.perf_counter() - before_s
            received: list[bytes] = []
            drain = threading.Thread(target=lambda: received.extend(iter(reader.readline, b"")))
            drain.start()
        stream.close()
        drain.join()

    assert took_s < 2
    assert MOST_LINES <= len(received) < MOST_LINES + 5_000
    assert [orjson.loads(line)["number"] for line in received] == list(range(len(received)))


def test_dropped_lines_are_counted_on_the_next_one() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    for _ in range(MOST_LINES + 3):
        writer.write({"event": "flood"})
    with writer:
        while writer._queue.qsize():
            threading.Event().wait(0.001)
        writer.write({"event": "after"})

    assert orjson.loads(stream.getvalue().splitlines()[-1]) == {"event": "after", "lines_dropped": 3}
