"""Whoever looks at a dashboard or a log line finds it explained."""

import inspect
import typing
from pathlib import Path

import pytest

from observe import logs
from observe.metrics import Metrics
from tiergate.events import Event

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


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


def test_every_kind_of_line_is_explained() -> None:
    source = inspect.getsource(logs)
    kinds = {
        part.split('"')[1]
        for level in ("debug", "info", "warning", "error")
        for part in source.split(f'"{level}", ')[1:]
        if part.startswith('"')
    } - {"debug", "info", "warning", "error", "failed", "all"}
    text = (REFERENCE / "events.md").read_text(encoding="utf-8")

    assert {kind for kind in kinds if f"| `{kind}` |" not in text} == set()
    assert {"request", "dial-failed", "suppressed"} <= kinds
