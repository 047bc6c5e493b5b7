"""A real Prometheus that scrapes a gateway, with the rules that come with tiergate."""

import asyncio
import math
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.support.gateways import free_ports
from tests.support.waiting import wait_until

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str
    http: httpx.AsyncClient = field(repr=False)

    async def ask(self, expression: str) -> list[dict[str, Any]]:  # JSON
        """What an expression gives now, series by series; those without a number left out."""
        said = await self.http.get("/api/v1/query", params={"query": expression})
        assert said.is_success, f"{expression}: {said.text}"
        result: list[dict[str, Any]] = said.json()["data"]["result"]
        return [series for series in result if not math.isnan(float(series["value"][1]))]

    async def firing(self) -> list[dict[str, str]]:
        """The labels of every alert that fires."""
        alerts = (await self.http.get("/api/v1/alerts")).json()["data"]["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]


def find_prometheus() -> str | None:
    """The system's program, if it has one: `apt-get install prometheus`."""
    return shutil.which("prometheus")


@asynccontextmanager
async def open_prometheus(
    program: str,
    folder: Path,
    admin: str,
    *,
    every_s: int = 1,
    tenants: Sequence[str] = (),
    key: str | None = None,
) -> AsyncIterator[Prometheus]:
    """Scrapes the gateway whose admin address is *admin*, and evaluates all rules, every so many seconds.

    Args:
        tenants: Each is scraped by itself, too, with this *key*.
    """
    [port] = free_ports(1)
    told = {
        "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": [
            {"job_name": "tiergate", "static_configs": [{"targets": [urlsplit(admin).netloc]}]},
            *(_of_tenants(urlsplit(admin).netloc, tenants, key) if tenants else ()),
        ],
    }
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(told), encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={urlsplit(url).netloc}", "--log.level=warn", stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:

            async def is_ready() -> bool:
                assert process.returncode is None, config.with_suffix(".log").read_text(encoding="utf-8")
                try:
                    return (await http.get("/-/ready")).is_success
                except httpx.TransportError:
                    return False

            await wait_until(is_ready, within_s=_READY_S, what="Prometheus to be ready")
            yield Prometheus(url, http)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _of_tenants(target: str, tenants: Sequence[str], key: str | None) -> list[dict[str, Any]]:  # YAML
    paths = [f"/metrics/tenants/{tenant}" for tenant in tenants]
    following = [{"targets": [target], "labels": {"__metrics_path__": path}} for path in paths]
    return [
        {"job_name": "tiergate-tenants", "authorization": {"credentials": key}, "static_configs": following}
    ]
