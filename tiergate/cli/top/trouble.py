"""What is wrong, whom it hurts, and which command to run: decided from what there is to see."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from tiergate.cli.following import is_at_rest
from tiergate.cli.top.view import Fullness, Row, TierPace, View

_LONG_S = 0.5
_FEW_PER_S = 0.2
_MANY_SHARE = 0.05
_CROWDING_SHARE = 0.6
_STILL_S = 60.0


class Weight(IntEnum):
    """The worst comes first."""

    ISOLATION = 0
    DOWN = 1
    FULL = 2
    MOVE = 3
    TENANT = 4
    TIER = 5
    NOTED = 6


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be.

    Attributes:
        what: Who is hurting, and why.
        do: The command to run, or what else to do.
    """

    weight: Weight
    what: str
    do: str


_OF_TENANT = {
    "rate-limited": "tiergate tenant set {tenant} --requests-per-s N, if it may ask for more",
    "paused": "tiergate resume --tenant {tenant}, if it was forgotten",
    "drained": "tiergate resume --tenant {tenant}, if it was forgotten",
    "held-up": "tiergate moves list --tenant {tenant}",
    "place-unprotected": "tiergate verify --tenant {tenant}",
    "context-refused": "tiergate verify --tenant {tenant}",
    "stale-route": "tiergate tenant show {tenant}",
    "tenant-not-ready": "tiergate tenant show {tenant}",
    "tenant-suspended": "tiergate tenant resume {tenant}, if it was forgotten",
    "pool-exhausted": "tiergate show --tenant {tenant}",
    "queue-full": "tiergate show --tenant {tenant}",
    "deadline-exceeded": "tiergate show --tenant {tenant}",
    "share-full": "tiergate show --tenant {tenant}",
    "connection-lost": "tiergate cluster show {cluster}",
    "database-unavailable": "tiergate cluster show {cluster}",
}
"""What to do about a tenant whose requests fail."""

_CALLERS = frozenset(
    {
        "no-credential", "unidentified", "scope-missing", "tenant-suspended", "statement-failed",
        "statement-refused", "statement-forbidden", "statement-unreadable", "statement-too-complex",
        "statement-not-passed", "statement-too-long", "statement-costly", "response-too-large",
        "request-too-large", "body-too-slow", "not-json", "wrong-shape", "empty-statement", "nested-too-deep",
        "text-not-storable", "too-many-parameters", "too-many-statements", "bad-header", "malformed-http",
        "head-too-large", "head-too-slow", "no-such-door", "client-gone", "reader-too-slow",
    }
)  # fmt: skip
"""Codes that the caller's own program is the cause of (docs/how-to/operate.md, "At night")."""


def troubles(view: View) -> list[Trouble]:
    """Everything that is wrong, the worst first."""
    found = [trouble for look in _LOOKS for trouble in look(view)]
    return sorted(found, key=lambda each: each.weight)


def _isolation(view: View) -> Iterator[Trouble]:
    names = {"tiergate_protection_losses_total", "tiergate_isolation_violations_total"}
    if names & view.alarms.keys() or any(tier.mostly == "place-unprotected" for tier in view.tiers):
        what = "A place was found not to keep its tenants apart, and is not served."
        yield Trouble(Weight.ISOLATION, what, "tiergate verify")
    if "tiergate_audit_cuts_total" in view.alarms:
        what = "Entries of the audit that were there are gone."
        yield Trouble(Weight.ISOLATION, what, "tiergate audit --verify")


def _down(view: View) -> Iterator[Trouble]:
    if view.registry == "down" or "registry-unavailable" in view.refused.values():
        what = "The registry does not answer. Known tenants are served for a while; new ones are not."
        yield Trouble(Weight.DOWN, what, "tiergate check, and start its server")
    for cluster in view.clusters:
        if not cluster.is_up:
            hurt = sum(1 for each in view.tenants if each.get("cluster") == cluster.name and _fails(each))
            whom = f" {hurt} of its tenants fail." if hurt else ""
            what = f"Cluster {cluster.name} does not answer.{whom}"
            yield Trouble(Weight.DOWN, what, f"tiergate cluster show {cluster.name}, and start its server")
    if view.silent:
        what = f"{view.silent} of {view.processes} processes are silent: gone, or cut off from the registry."
        yield Trouble(Weight.DOWN, what, "tiergate gateways")


def _full(view: View) -> Iterator[Trouble]:
    for cluster in view.clusters:
        if cluster.max and cluster.used >= cluster.max and cluster.waiting:
            whom = _crowds(view, cluster)
            what = (
                f"Cluster {cluster.name}: all {cluster.max} connections are in use,"
                f" {_requests(cluster.waiting)} wait."
            )
            do = f"tiergate advise --cluster {cluster.name}; else raise max_db_connections"
            if whom is not None:
                what += f" {whom} has most of them."
                do = f"tiergate tenant set {whom} --max-inflight N, or tiergate promote {whom}"
            yield Trouble(Weight.FULL, what, do)


def _crowds(view: View, cluster: Fullness) -> str | None:
    """The one tenant that has most of a cluster's connections."""
    on_it = [each for each in view.tenants if each.get("cluster") == cluster.name]
    whole = sum(float(each["connections"]) for each in on_it)
    most = max(on_it, key=lambda each: float(each["connections"]), default=None)
    if most is None or len(on_it) == 1 or float(most["connections"]) < _CROWDING_SHARE * whole or not whole:
        return None
    return str(most["tenant"])


def _moves(view: View) -> Iterator[Trouble]:
    for move in view.moves:
        number, who = move["id"], f"The move of {move['tenant']}"
        state = str(move["state"]).replace("_", " ")
        show = f"tiergate moves show {number}"
        still_s = view.still_s.get(number, 0.0)
        if move.get("error"):
            yield Trouble(Weight.MOVE, f"{who} tries {state} again: {move['error']}", show)
        elif move["is_paused"]:
            yield Trouble(Weight.NOTED, f"{who} is paused while {state}.", f"tiergate moves resume {number}")
        elif is_at_rest(move):
            if move["state"] == "ready" and move["hold"]:
                do = f"tiergate moves cutover {number}"
                yield Trouble(Weight.NOTED, f"{who} is ready, and waits for somebody.", do)
        elif move["worker"] is None and max(still_s, _since_s(move.get("changed_at"))) > _STILL_S:
            what = f"{who} stands in {state}: no process works on it."
            yield Trouble(Weight.MOVE, what, f"tiergate gateways; {show}")
        elif still_s > _STILL_S and move["state"] != "ready":
            yield Trouble(Weight.MOVE, f"{who} stands in {state} for {still_s:.0f} s.", show)


def _since_s(at: Any) -> float:  # Any: JSON
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(at))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _tenants(view: View) -> Iterator[Trouble]:
    down = {cluster.name for cluster in view.clusters if not cluster.is_up}
    for each in view.tenants:
        name, code = str(each["tenant"]), str(each.get("error"))
        if each.get("cluster") in down:
            continue  # that is said already
        if _fails(each) and code in _OF_TENANT:
            failed = f"{name}: {float(each['errors_per_s']):.1f} requests/s fail, the last with {code}."
            do = _OF_TENANT[code].format(tenant=name, cluster=each.get("cluster") or "NAME")
            waits = _waits(each)
            yield Trouble(Weight.TENANT, f"{failed} It {waits}" if waits else failed, do)
        elif _fails(each) and code in _CALLERS:
            what = f"{name}: {float(each['errors_per_s']):.1f} requests/s fail with {code}: its own mistakes."
            do = f"nothing here; the log has a line for each, with tenant {name}"
            yield Trouble(Weight.NOTED, what, do)
        elif (waits := _waits(each)) is not None:
            yield Trouble(Weight.TENANT, f"{name} {waits}", f"tiergate show --tenant {name}")


def _waits(each: Row) -> str | None:
    """How a tenant waits, if it does for long."""
    waited_s, requests = float(each["waited_s"]), float(each["requests_per_s"])
    if each["waiting"] and float(each["oldest_s"]) >= _LONG_S:
        return f"waits: {_requests(each['waiting'])} in line, the first for {each['oldest_s']:.1f} s."
    if requests and waited_s >= _LONG_S and waited_s / requests >= _LONG_S:
        return f"waits for connections: {waited_s / requests:.1f} s for each request."
    return None


def _tiers(view: View) -> Iterator[Trouble]:
    hurt = [each for each in view.tiers if each.mostly not in _CALLERS and _suffers(each)]
    if hurt:
        worst = max(hurt, key=lambda each: each.errors_per_s)
        do = "docs/how-to/operate.md says what to do for each code"
        what = f"{worst.tier}: {worst.errors_per_s:.1f} of {worst.requests_per_s:.1f} requests/s fail,"
        yield Trouble(Weight.TIER, f"{what} mostly with {worst.mostly}.", do)


def _suffers(tier: TierPace) -> bool:
    return tier.errors_per_s >= max(_FEW_PER_S, _MANY_SHARE * tier.requests_per_s)


def _fails(tenant: Row) -> bool:
    failed = float(tenant["errors_per_s"])
    return failed >= max(_FEW_PER_S, _MANY_SHARE * float(tenant["requests_per_s"]))


def _standing(view: View) -> Iterator[Trouble]:
    for order in view.orders:
        scope = next((word for word in ("tenant", "pool", "cluster") if word in order), "tenant")
        word = "drained" if order["verb"] == "drain" else "paused"
        left_s = float(order.get("left_s") or 0)
        what = f"{scope} {order.get(scope)} is {word} by {order.get('actor')}, for {left_s:.0f} s more."
        what = what[0].upper() + what[1:]
        yield Trouble(Weight.NOTED, what, f"tiergate resume --{scope} {order.get(scope)}")


def _untold(view: View) -> Iterator[Trouble]:
    for path, code in view.refused.items():
        if code != "registry-unavailable":
            what = f"The gateway does not tell {path}: {code}."
            yield Trouble(Weight.NOTED, what, "tiergate version; is the gateway an older one?")


def _requests(count: int) -> str:
    return f"{count} request" + "s" * (count != 1)


_LOOKS: tuple[Callable[[View], Iterator[Trouble]], ...] = (
    _isolation, _down, _full, _moves, _tenants, _tiers, _standing, _untold,
)  # fmt: skip
