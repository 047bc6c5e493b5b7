"""Whoever looks at a dashboard or a log line finds it explained."""

import re
import typing
from pathlib import Path

import pytest

from observe.metrics import Metrics
from tiergate.events import Event

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
_LINE = re.compile(r"\b(?:say|_limit)\(\s*(?:[^,()]*),\s*\"([a-z-]+)\"")


def names() -> list[str]:
    """All metrics, as Prometheus sees them."""
    counters = {"counter": "_total"}
    return [metric.name + counters.get(metric.type, "") for metric in Metrics().registry.collect()]


@pytest.mark.parametrize("name", names())
def test_every_metric_is_explained(name: str) -> None:
    assert f"| `{name}` |" in (REFERENCE / "metrics.md").read_text(encoding="utf-8")


def test_no_metric_is_explained_that_does_not_exist() -> None:
    lines = (REFERENCE / "metrics.md").read_text(encoding="utf-8").splitlines()
    explained = {line.split("`")[1] for line in lines if line.startswith("| `tiergate_")}

    assert explained == set(names())


@pytest.mark.parametrize("event", [kind.__name__ for kind in typing.get_args(Event)])
def test_every_event_is_explained(event: str) -> None:
    assert f"`{event}`" in (REFERENCE / "events.md").read_text(encoding="utf-8")


def lines() -> set[str]:
    """The `event` of every line that our own modules write."""
    sources = [*ROOT.glob("observe/*.py"), *ROOT.glob("tiergate/**/*.py"), *ROOT.glob("[a-z]*/*.py")]
    texts = (path.read_text(encoding="utf-8") for path in sources if "tests" not in path.parts)
    return {event for text in texts for event in _LINE.findall(text)}


def test_every_kind_of_line_is_explained() -> None:
    text = (REFERENCE / "events.md").read_text(encoding="utf-8")

    assert {event for event in lines() if f"| `{event}` |" not in text} == set()
    assert {"request", "dial-failed", "suppressed", "serving"} <= lines()
