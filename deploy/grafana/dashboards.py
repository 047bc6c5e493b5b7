"""Write the dashboards that Grafana reads from `questions.yml`: `make dashboards`."""

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT, _STAT_HEIGHT = 12, 8, 4

Json = dict[str, Any]


def _variables(choices: dict[str, str]) -> list[Json]:
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return [source] + [
        {
            "name": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, query in choices.items()
    ]


def _panel(number: int, panel: Json, place: Json) -> Json:
    is_stat = panel.get("kind") == "stat"
    return {
        "id": number,
        "type": "stat" if is_stat else "timeseries",
        "title": panel["question"],
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel["unit"], **({"decimals": 3} if is_stat else {"min": 0})},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for at, (legend, expression) in enumerate(panel["shows"].items())
        ],
    }


def _places(panels: list[Json]) -> list[Json]:
    """Two to a row, each row as high as its highest."""
    found, below = [], 0
    for at in range(0, len(panels), 2):
        row = panels[at : at + 2]
        height = _STAT_HEIGHT if all(panel.get("kind") == "stat" for panel in row) else _HEIGHT
        found += [{"x": _WIDTH * x, "y": below, "w": _WIDTH, "h": height} for x in range(len(row))]
        below += height
    return found


def dashboards() -> dict[str, Json]:
    """By the name of its file, each as Grafana's dashboard JSON."""
    told = yaml.safe_load((FOLDER / "questions.yml").read_text(encoding="utf-8"))
    return {
        each["file"]: {
            "uid": each["uid"],
            "title": each["title"],
            "tags": ["tiergate"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": _variables(each["choices"])},
            "panels": [
                _panel(number, panel, place)
                for number, (panel, place) in enumerate(
                    zip(each["panels"], _places(each["panels"]), strict=True), 1
                )
            ],
        }
        for each in told
    }


def text(dashboard: Json) -> str:
    """As the file holds it."""
    return json.dumps(dashboard, indent=2) + "\n"


if __name__ == "__main__":
    for name, dashboard in dashboards().items():
        (FOLDER / "dashboards" / name).write_text(text(dashboard), encoding="utf-8")
