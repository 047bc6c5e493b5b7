"""Every panel shows something: a real Prometheus scrapes the demo under load, and answers each expression."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Operator, open_demo, open_operator
from tests.support.http import query, request
from tests.support.load import Load, open_load
from tests.support.postgres import server_folder
from tests.support.prometheus import Prometheus, find_prometheus, open_prometheus
from tests.support.waiting import wait_until

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
CHOSEN = {"$__rate_interval": "10m", "$tier": ".*", "$cluster": ".*", "$instance": ".*", "$tenant": ".*"}
READ = "SELECT count(*) AS n FROM projects"
# A value of `rate` needs two scrapes, a recorded one an evaluation more; and half the suite runs beside it.
WITHIN_S = 60.0


def panels() -> list[tuple[str, str]]:
    """Question and expression of each query of each panel."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            found += [(panel["title"], target["expr"]) for target in panel["targets"]]
    return found


async def moved(operator: Operator) -> None:
    """Have a tenant change its tier, so that there is something to say of moves."""
    name, _ = await operator.create_tenant("standard")
    planned = await operator.client.post(f"/tenants/{name}/moves", json={"to": "premium", "soak_s": 0})
    assert planned.is_success, planned.text
    path = f"/moves/{planned.json()['id']}"

    async def is_done() -> bool:
        return bool((await operator.client.get(path)).json()["state"] == "done")

    await wait_until(is_done, within_s=WITHIN_S, what="the end of the move")


@pytest.fixture(scope="module")
async def prometheus() -> AsyncIterator[Prometheus]:
    """One that has seen a demo at work, and a move; a demo of its own, as any gateway of a registry moves."""
    program = find_prometheus()
    if program is None:
        pytest.skip("there is no Prometheus here: apt-get install prometheus")
    with server_folder() as folder:
        async with open_demo(folder / "demo") as gateway, open_operator(gateway) as operator:
            requests = [(request(tenant.key, query(READ)), b'"n"') for tenant in gateway.tenants.values()]
            async with (
                open_prometheus(
                    program, folder, gateway.admin, tenants=[*gateway.tenants], key=gateway.admin_key
                ) as opened,
                open_load(gateway.url, requests, callers=4, every_s=0.05) as load,
            ):
                await wait_until(lambda: opened.ask("up == 1"), within_s=WITHIN_S, what="the first scrape")
                await moved(operator)
                await is_well(load)
                yield opened


async def is_well(load: Load) -> None:
    """Wait until every caller has been answered, and hold that nobody was refused."""
    await wait_until(lambda: len(load.asked) > len(load.requests), what="answers")
    assert load.failed() == []


@pytest.mark.parametrize(("question", "expression"), panels())
async def test_a_panel_answers_its_question(question: str, expression: str, prometheus: Prometheus) -> None:
    for name, value in CHOSEN.items():
        expression = expression.replace(name, value)

    await wait_until(lambda: prometheus.ask(expression), within_s=WITHIN_S, what=question)


# How fast the machine is while the rest of the suite runs says nothing of the rules.
OF_SPEED = {"TiergateQueueWaits", "TiergateRequestsSlow", "TiergateLoopLate", "TiergateMovePauses"}


async def test_no_alert_fires_while_all_is_well(prometheus: Prometheus) -> None:
    await wait_until(
        lambda: prometheus.ask("tiergate:requests_failed:ratio_rate5m"), what="the first evaluation"
    )

    assert {alert["alertname"] for alert in await prometheus.firing()} - OF_SPEED == set()


async def test_prometheus_finds_nothing_wrong_with_any_rule(prometheus: Prometheus) -> None:
    groups = (await prometheus.http.get("/api/v1/rules")).json()["data"]["groups"]

    assert [rule for group in groups for rule in group["rules"] if rule["health"] == "err"] == []
    assert groups
