"""Alerts, their runbooks and their cases hold together, and ask for nothing that does not exist."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "how-to" / "runbooks"
REFERENCE = ROOT / "docs" / "reference"
PARTS = ("## See it", "## Do", "## It is over when")

Rule = dict[str, Any]  # YAML


@cache
def rules() -> tuple[Rule, ...]:
    """Every rule, with its file under `file`."""
    found = []
    for path in sorted(PROMETHEUS.glob("rules/*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            found += [{**rule, "file": path.name} for rule in group["rules"]]
    return tuple(found)


def alerts() -> list[Rule]:
    return [rule for rule in rules() if "alert" in rule]


def runbook(alert: str) -> str:
    """TiergateClusterDown has its page at cluster-down."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", alert.removeprefix("Tiergate")).lower()


@cache
def metrics() -> set[str]:
    """What the reference explains."""
    lines = (REFERENCE / "metrics.md").read_text(encoding="utf-8").splitlines()
    return {line.split("`")[1] for line in lines if line.startswith("| `")}


def unknown(expression: str) -> set[str]:
    """Metrics that *expression* asks for, and that neither a gateway nor a rule tells."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = set(re.findall(r"\b(?:tiergate|process)[_:][a-zA-Z0-9_:]+", expression))
    bare = {name if name in metrics() else re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    return bare - metrics() - recorded


each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_a_rule_asks_for_metrics_that_exist(rule: Rule) -> None:
    assert unknown(rule["expr"]) == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_a_rule_names_outcomes_that_exist(rule: Rule) -> None:
    known = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    named = {code for codes in re.findall(r'outcome=~?"([^"]*)"', rule["expr"]) for code in codes.split("|")}

    assert {code for code in named if f"| `{code}` |" not in known} <= {"ok", "stale"}


@each_alert
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on(alert: Rule) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/how-to/runbooks/{runbook(alert['alert'])}.md"


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    titles = {path.stem: path.read_text(encoding="utf-8").splitlines()[0] for path in RUNBOOKS.glob("*.md")}

    assert titles == {runbook(alert["alert"]): f"# {alert['alert']}" for alert in alerts()}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_says_how_to_see_it_what_to_do_and_when_it_is_over(page: Path) -> None:
    headings = re.findall(r"^## .*$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert headings == list(PARTS)


@each_alert
def test_an_alert_has_a_case_that_fires_and_one_that_stays_silent(alert: Rule) -> None:
    severity = alert["labels"]["severity"]
    told = [
        [fired["exp_labels"]["severity"] for fired in case["exp_alerts"]]
        for path in PROMETHEUS.glob("tests/*.yml")
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert["alert"]
    ]

    assert any(severity in fired for fired in told)
    assert any(severity not in fired for fired in told)


def test_prometheus_reads_every_file_of_rules() -> None:
    told = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    read = {path for pattern in told["rule_files"] for path in PROMETHEUS.glob(pattern)}

    assert read == set(PROMETHEUS.glob("rules/*.yml"))


def test_the_page_of_alerts_names_each_with_its_runbook() -> None:
    page = (ROOT / "docs" / "how-to" / "watch.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[(Tiergate\w+)\]\(runbooks/([a-z-]+)\.md\) \|", page, re.MULTILINE)

    assert sorted(named) == sorted({(alert["alert"], runbook(alert["alert"])) for alert in alerts()})
