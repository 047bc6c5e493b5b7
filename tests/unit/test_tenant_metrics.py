"""What is known of one tenant is told by its name, in bounded memory, and of all processes together."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from observe.metrics import Metrics
from observe.snapshot import PoolCount, TenantCount
from observe.tenant_files import MOST_WANTED, WANTED_S
from observe.tenants import TenantMetrics
from tiergate.events import RequestAnswered
from tiergate.tenant import TenantId, Tier

ROOT = Path(__file__).parents[2]
POOL = PoolCount(Tier.STANDARD, "standard-1", 8, active=2, idle=3, opening=1, closing=0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def answered(tenant: str | None, outcome: str = "ok", *, total_s: float = 0.2) -> RequestAnswered:
    who = None if tenant is None else TenantId(tenant)
    return RequestAnswered(
        "r", who, Tier.STANDARD, outcome, 200, 0.01, 0.02, 0.03, 0.04, total_s,
        cluster="standard-1", rows=3, bytes_in=80, bytes_out=400, encode_s=0.05, round_trips=2,
    )  # fmt: skip


def series_of(text: str, tenant: str) -> dict[str, float]:
    """Each series by its name and the values of its labels, of which that of the tenant is known."""
    samples = [sample for each in text_string_to_metric_families(text) for sample in each.samples]
    assert {sample.labels.pop("tenant") for sample in samples} == {tenant}
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


async def told(metrics: TenantMetrics, tenant: str, place: str | None = "p1") -> dict[str, float]:
    """Each series of the answer."""
    found = await metrics.show(tenant, place)
    assert found is not None
    return series_of(found[0].decode(), tenant)


async def test_of_one_tenant_everything_is_told_and_of_others_nothing() -> None:
    metrics = TenantMetrics(["ok", "rate-limited", "queue-full"])
    for event in (
        answered("acme"),
        answered("acme", "rate-limited", total_s=0.3),
        answered("other"),
        answered(None, "unknown-key"),
    ):
        metrics.fold(event)

    series = await told(metrics, "acme")
    assert series == pytest.approx(
        series
        | {
            "tiergate_tenant_requests_total ok": 1,
            "tiergate_tenant_requests_total rate-limited": 1,
            "tiergate_tenant_requests_total queue-full": 0,
            "tiergate_tenant_request_seconds_count": 2,
            "tiergate_tenant_request_seconds_sum": 0.5,
            "tiergate_tenant_request_seconds_bucket 0.25": 1,
            "tiergate_tenant_request_seconds_bucket 0.5": 2,
            "tiergate_tenant_phase_seconds_total auth": 0.02,
            "tiergate_tenant_phase_seconds_total queue": 0.04,
            "tiergate_tenant_phase_seconds_total connect": 0.06,
            "tiergate_tenant_phase_seconds_total database": 0.08,
            "tiergate_tenant_phase_seconds_total encode": 0.1,
            "tiergate_tenant_rows_total": 6,
            "tiergate_tenant_request_bytes_total in": 160,
            "tiergate_tenant_request_bytes_total out": 800,
            "tiergate_tenant_round_trips_total": 4,
        }
    )


async def test_what_it_has_in_hand_is_asked_with_its_place() -> None:
    asked: list[Mapping[str, str]] = []

    def look(wanted: Mapping[str, str]) -> Mapping[str, TenantCount]:
        asked.append(dict(wanted))
        return {"acme": TenantCount(4, 5, 1.5, (POOL,))}

    series = await told(TenantMetrics((), look), "acme", "p7")

    assert asked == [{"acme": "p7"}]
    assert series["tiergate_tenant_requests_inflight"] == 4
    assert series["tiergate_tenant_requests_waiting"] == 5
    assert series["tiergate_tenant_oldest_wait_seconds"] == 1.5
    assert series["tiergate_tenant_pool_connections standard-1 idle standard"] == 3
    assert series["tiergate_tenant_pool_size standard-1 standard"] == 8


async def test_a_tenant_without_requests_is_told_of_once_it_is_said_where_it_lives() -> None:
    metrics = TenantMetrics(["ok"])

    assert await metrics.show("acme", None) is None
    assert (await told(metrics, "acme"))["tiergate_tenant_requests_total ok"] == 0
    assert (await told(metrics, "acme", None))["tiergate_tenant_requests_total ok"] == 0


async def test_who_has_asked_is_remembered_though_nobody_says_where_it_lives() -> None:
    metrics = TenantMetrics(["ok"])
    metrics.fold(answered("acme"))

    assert (await told(metrics, "acme", None))["tiergate_tenant_requests_total ok"] == 1


async def test_no_more_than_twice_as_many_are_remembered_and_who_asks_often_stays() -> None:
    metrics = TenantMetrics((), most=10)
    for number in range(1_000):
        metrics.fold(answered(f"tenant-{number}"))
        metrics.fold(answered("acme"))
        assert len(metrics) <= 20

    assert (await told(metrics, "acme"))["tiergate_tenant_requests_total ok"] == 1_000


async def test_of_a_tenant_that_is_looked_at_no_count_falls() -> None:
    clock = Clock()
    metrics = TenantMetrics(["ok"], most=10, now=clock)
    metrics.fold(answered("acme"))
    metrics.fold(answered("left"))
    await told(metrics, "acme")
    for number in range(1_000):
        metrics.fold(answered(f"tenant-{number}"))
        metrics.refresh()

    assert (await told(metrics, "acme"))["tiergate_tenant_requests_total ok"] == 1
    assert (await told(metrics, "left"))["tiergate_tenant_requests_total ok"] == 0


async def test_who_is_not_asked_for_again_may_be_forgotten() -> None:
    clock = Clock()
    metrics = TenantMetrics(["ok"], most=10, now=clock)
    metrics.fold(answered("acme"))
    await told(metrics, "acme")
    clock.now_s += WANTED_S + 1
    metrics.refresh()
    for number in range(100):
        metrics.fold(answered(f"tenant-{number}"))

    assert await metrics.show("acme", None) is None


async def test_no_more_are_kept_for_those_who_ask_than_may_be() -> None:
    asked: list[int] = []

    def look(wanted: Mapping[str, str]) -> Mapping[str, TenantCount]:
        asked.append(len(wanted))
        return {}

    metrics = TenantMetrics((), look)
    for number in range(MOST_WANTED + 20):
        await metrics.show(f"tenant-{number}", "p")

    assert max(asked) == MOST_WANTED


async def test_metrics_fold_what_each_tenant_was_answered() -> None:
    metrics = Metrics(outcomes=["ok"])
    metrics(answered("acme"))

    assert (await told(metrics.tenants, "acme"))["tiergate_tenant_requests_total ok"] == 1
    assert b'tenant="' not in metrics.render()[0]


_PROCESS = """
import asyncio
import sys
from observe import tenant_files, tenants
from observe.metrics import Metrics
from observe.snapshot import PoolCount, TenantCount
from tiergate.events import RequestAnswered
from tiergate.tenant import TenantId, Tier

def look(wanted):
    pool = PoolCount(Tier.STANDARD, "standard-1", 8, 1, 0, 0, 0)
    return {name: TenantCount(1, 2, 0.5, (pool,)) for name in wanted}

tenants._OTHERS_S = tenant_files._LIVES_S = 60.0  # however slow the machine is
metrics = Metrics(outcomes=["ok", "queue-full"], look=look)
for outcome in sys.argv[1].split(","):
    metrics(RequestAnswered("r", TenantId("acme"), Tier.STANDARD, outcome, 200, 0, 0, 0, 0.25, 0.5, rows=1))

async def serve():
    metrics.refresh()
    print("there", flush=True)
    while True:
        asked = await asyncio.to_thread(sys.stdin.readline)
        if not asked:
            return
        if asked == "refresh\\n":
            metrics.refresh()
            print("done", flush=True)
        else:
            said = await metrics.tenants.show("acme", "p")
            print(said[0].decode() + "=====", flush=True)

asyncio.run(serve())
"""


class Child:
    """A process of a gateway, which does what it is told."""

    def __init__(self, folder: Path, outcomes: str) -> None:
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, outcomes], env=env, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.read() == "there\n"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def shown(self) -> dict[str, float]:
        """What it answers when it is asked for acme."""
        lines: list[str] = []
        while not lines or lines[-1] != "=====\n":
            lines.append(self.read())
            assert lines[-1], "the process has ended"
        return series_of("".join(lines[:-1]), "acme")

    def end(self) -> None:
        self.process.communicate(timeout=30)


async def test_processes_are_added_up_and_what_one_has_counted_outlives_it(tmp_path: Path) -> None:
    one, other = Child(tmp_path, "ok,ok"), Child(tmp_path, "ok,queue-full")
    try:
        one.tell("show")
        asking = asyncio.create_task(asyncio.to_thread(one.shown))
        while not asking.done():  # as a gateway does each second
            other.tell("refresh")
            assert await asyncio.to_thread(other.read) == "done\n"
        both = await asking
        other.end()
        os.utime(tmp_path / f"{other.process.pid}.tenants", (0, 0))
        one.tell("show")
        left = await asyncio.to_thread(one.shown)
    finally:
        one.end()
        other.end()

    assert both["tiergate_tenant_requests_total ok"] == 3
    assert both["tiergate_tenant_requests_total queue-full"] == 1
    assert both["tiergate_tenant_request_seconds_sum"] == 2
    assert both["tiergate_tenant_rows_total"] == 4
    assert both["tiergate_tenant_requests_waiting"] == 4
    assert both["tiergate_tenant_oldest_wait_seconds"] == 0.5
    assert both["tiergate_tenant_pool_size standard-1 standard"] == 16
    assert left["tiergate_tenant_requests_total ok"] == 3
    assert left["tiergate_tenant_requests_waiting"] == 2
