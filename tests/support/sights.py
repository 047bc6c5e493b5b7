"""What a gateway might tell `tiergate top`, made up."""

from typing import Any

from tiergate.cli.top.sample import Sample
from tiergate.cli.top.scrape import read_scrape
from tiergate.cli.top.view import Looking, View

Json = dict[str, Any]  # Any: JSON


def tenant(name: str, **more: object) -> Json:
    """A line of `/busiest`."""
    return {
        "tenant": name, "tier": "standard", "cluster": "standard-1", "requests_per_s": 10.0,
        "errors_per_s": 0.0, "connections": 0.5, "waited_s": 0.0, "waiting": 0, "oldest_s": 0.0,
        "error": None,
    } | more  # fmt: skip


def move(**more: object) -> Json:
    """A line of `/moves`."""
    return {
        "id": "5c0f7d2e-0000-4000-8000-000000000000", "tenant": "acme", "state": "copying", "is_over": False,
        "is_paused": False, "wanted": None, "hold": False, "at": None, "worker": "gw 1", "error": None,
        "progress": {"copied": {"rows": 1200, "size_bytes": 0}}, "changed_at": "2026-03-01T12:00:00Z",
        "from": {"cluster": "standard-1", "tier": "standard"},
        "to": {"cluster": "premium-1", "tier": "premium"},
    } | more  # fmt: skip


def process(*, used: int = 2, waiting: int = 0, is_up: bool = True, **more: object) -> Json:
    """A process of `/gateways` with one pool."""
    counts = {"active": used, "idle": 0, "waiting": waiting, "opening": 0}
    return {
        "gateway": "gw-1:8080", "pid": 1, "is_silent": False,
        "pools": [{"place": "pl_1", "cluster": "standard-1", "tier": "standard", **counts}],
        "budgets": [{"cluster": "standard-1", "max": 10, "used": used, "is_up": is_up}],
    } | more  # fmt: skip


def metrics(ok: int = 0, **failed: int) -> str:
    """A scrape of the standard tier: requests of 1 to 2.5 ms."""
    counts = {"ok": ok, **{code.replace("_", "-"): count for code, count in failed.items()}}
    whole = sum(counts.values())
    lines = [
        f'tiergate_requests_total{{outcome="{code}",tier="standard"}} {n}.0' for code, n in counts.items()
    ]
    for bound, count in (("0.001", 0), ("0.0025", whole), ("+Inf", whole)):
        labels = f'le="{bound}",phase="total",tier="standard"'
        lines.append(f"tiergate_request_seconds_bucket{{{labels}}} {count}.0")
    return "# HELP tiergate_requests_total Requests\n" + "\n".join(lines) + "\n"


def sample(
    at_s: float = 0.0,
    text: str = "",
    *,
    ready: Json | None = None,
    processes: list[Json] | None = None,
    tenants: list[Json] | None = None,
    moves: list[Json] | None = None,
    orders: list[Json] | None = None,
    refused: dict[str, str] | None = None,
) -> Sample:
    """One look."""
    told = {
        "/gateways": {"processes": [process()] if processes is None else processes},
        "/busiest": {"tenants": tenants or []},
        "/moves": {"moves": moves or []},
        "/orders": {"orders": orders or []},
    }
    kept = {path: each for path, each in told.items() if path not in (refused or {})}
    return Sample(read_scrape(text, at_s), ready or {"registry": "up"}, kept, refused or {})


def view(*samples: Sample) -> View:
    """What these samples come to."""
    looking = Looking()
    return [looking.add(each) for each in samples][-1]
