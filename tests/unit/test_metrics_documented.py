"""Whoever looks at a dashboard or a log line finds it explained."""

import re
import shutil
import subprocess
import typing
from pathlib import Path

import pytest
from prometheus_client import Metric

from observe.metrics import Metrics
from observe.snapshot import PoolCount, TenantCount
from observe.tenant_families import TenantFamilies
from observe.tenant_sums import Sums
from tiergate.events import Event
from tiergate.tenant import Tier

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
_LINE = re.compile(r"\b(?:say|_limit)\(\s*(?:[^,()]*),\s*\"([a-z-]+)\"")


def metrics() -> list[Metric]:
    """Those of the gateway, and those of one tenant."""
    count = TenantCount(pools=(PoolCount(Tier.STANDARD, "standard-1", 8, 1, 1, 0, 0),))
    sums = Sums.nothing()
    sums.in_hand = count
    return [*Metrics().registry.collect(), *TenantFamilies("acme", sums, ["ok"]).collect()]


def names() -> list[str]:
    """All metrics, as Prometheus sees them."""
    counters = {"counter": "_total"}
    return [metric.name + counters.get(metric.type, "") for metric in metrics()]


@pytest.mark.parametrize("metric", metrics(), ids=lambda metric: metric.name)
def test_a_metric_is_named_by_what_it_counts_and_in_which_unit(metric: Metric) -> None:
    """Source: Prometheus, "Metric and label naming"."""
    assert re.fullmatch("(?:tiergate|process)(?:_[a-z]+)+", metric.name)
    assert metric.type in {"counter", "gauge", "histogram"}
    assert metric.documentation.endswith(".")
    assert not re.search("_(?:ms|us|minutes|hours|kb|mb|percent|total|count|sum|bucket|info)$", metric.name)
    assert metric.type != "histogram" or metric.name.endswith("_seconds")
    labels = {name for sample in metric.samples for name in sample.labels} - {"le"}
    assert all(re.fullmatch("[a-z_]+", label) for label in labels)
    assert not labels & {"place", "request_id", *metric.name.split("_")[:1]}
    assert ("tenant" in labels) is metric.name.startswith("tiergate_tenant_")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("of", ["gateway", "tenant"])
async def test_promtool_has_nothing_to_say(of: str) -> None:
    told = Metrics()
    shown = told.render() if of == "gateway" else await told.tenants.show("acme", "p")
    assert shown is not None
    said = subprocess.run(["promtool", "check", "metrics"], input=shown[0], capture_output=True, check=False)  # noqa: ASYNC221 - nothing else runs

    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", names())
def test_every_metric_is_explained(name: str) -> None:
    assert f"| `{name}` |" in (REFERENCE / "metrics.md").read_text(encoding="utf-8")


def test_no_metric_is_explained_that_does_not_exist() -> None:
    lines = (REFERENCE / "metrics.md").read_text(encoding="utf-8").splitlines()
    explained = {line.split("`")[1] for line in lines if line.startswith(("| `tiergate_", "| `process_"))}

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
