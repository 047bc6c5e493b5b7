"""How much the log says follows the settings, and for a while an operator."""

import asyncio
import io

import orjson
import pytest

from observe.lines import LineWriter
from observe.logs import Log
from observe.loudness import CONFIGURED, Loudness


@pytest.fixture
async def log() -> Log:
    return Log(LineWriter(io.BytesIO()), level="warning")


def word(level: str, number: int = 1, for_s: float = 600) -> dict[str, object]:
    return {"level": level, "for_s": for_s, "number": number}


async def test_an_operators_word_goes_before_the_settings_until_it_is_taken_back(log: Log) -> None:
    loudness = Loudness(log)
    loudness.hear(word("debug"))
    loudness.configure("error")
    held = log.level
    loudness.hear(word(CONFIGURED, 2))

    assert (held, log.level) == ("debug", "error")
    assert loudness.told().left_s is None


async def test_it_is_over_by_itself(log: Log) -> None:
    changed = asyncio.Event()
    loudness = Loudness(log)
    loudness.hear(word("debug", for_s=0.01))
    loudness.on_change = changed.set
    async with asyncio.timeout(10):
        await changed.wait()

    assert log.level == "warning"
    assert loudness.told().heard == 1


async def test_the_last_word_holds_also_when_an_earlier_one_comes_later(log: Log) -> None:
    loudness = Loudness(log)
    loudness.hear(word("error", 8))
    loudness.hear(word("debug", 7))

    assert (log.level, loudness.told().heard) == ("error", 8)


@pytest.mark.parametrize(
    "said",
    [
        {},
        word("loud"),
        {"level": "debug"},
        {**word("debug"), "for_s": "long"},
        {**word("debug"), "number": None},
    ],
)
async def test_what_is_not_understood_changes_nothing(log: Log, said: dict[str, object]) -> None:
    Loudness(log).hear(said)

    assert log.level == "warning"


@pytest.mark.parametrize(("before", "after"), [("error", "debug"), ("debug", "error")])
async def test_a_change_of_the_level_is_always_told(before: str, after: str) -> None:
    stream = io.BytesIO()
    with LineWriter(stream) as writer:
        log = Log(writer, level=before)  # type: ignore[arg-type]  # a level
        Loudness(log).hear(word(after))
    (line,) = [orjson.loads(line) for line in stream.getvalue().splitlines()]

    assert (line["event"], line["before"], line["now"]) == ("log-level", before, after)
