"""Dashboards are what their questions say, and ask for nothing that does not exist."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_alerts import unknown

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def panels(file: Path) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["panels"]
    return told


def test_the_dashboards_are_written_from_their_questions() -> None:
    module = runpy.run_path(str(GRAFANA / "dashboards.py"))
    written = {file.name: file.read_text(encoding="utf-8") for file in FILES}

    assert written == {name: module["text"](told) for name, told in module["dashboards"]().items()}


@each_file
def test_every_panel_asks_a_question_in_its_title(file: Path) -> None:
    titles = [panel["title"] for panel in panels(file)]

    assert titles
    assert [title for title in titles if not title.endswith("?")] == []
    assert len(set(titles)) == len(titles)


@each_file
def test_a_panel_asks_for_metrics_that_exist(file: Path) -> None:
    lost = {panel["title"]: unknown(target["expr"]) for panel in panels(file) for target in panel["targets"]}

    assert {title: names for title, names in lost.items() if names} == {}


@each_file
def test_no_panel_lies_on_another(file: Path) -> None:
    taken = [
        (x, y)
        for panel in panels(file)
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(taken) == len(set(taken))


def test_a_runbook_names_panels_that_exist() -> None:
    titles = {panel["title"] for file in FILES for panel in panels(file)}
    pages = [
        " ".join(page.read_text(encoding="utf-8").split()) for page in ROOT.glob("docs/how-to/runbooks/*.md")
    ]
    named = {
        text.split("*")[1] for page in pages for text in page.split("panel ")[1:] if text.startswith("*")
    }

    assert named - titles == set()
    assert named


def test_grafana_of_the_compose_file_finds_its_dashboards() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["grafana"]
    mounts = dict(mount.split(":")[:2] for mount in service["volumes"] if mount.startswith("./"))
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/tiergate.yml").read_text(encoding="utf-8"))

    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounts["./deploy/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
