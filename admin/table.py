"""Every route of the admin API: who may pass, what it takes, tells and refuses."""

from collections.abc import Iterator
from dataclasses import dataclass

from admin import refusals as r
from admin import told, told_audit, told_load, told_state
from admin.across_door import PATH, AcrossDoor
from admin.acts import Acts
from admin.admin_keys import AdminKeyRoutes, NewAdminKey
from admin.advising import AdviceRoutes, Wanted
from admin.busiest import BusiestRoutes
from admin.busiest import Page as BusiestPage
from admin.contract import LINES, Act, Entry
from admin.levels import LevelRoutes, NewLevel
from admin.moving import MoveRoutes
from admin.ordering import NewOrder, OrderRoutes
from admin.shapes import AcrossAll, AuditPage, Expected, Nothing, Verify
from admin.state import State
from admin.table_clusters import clusters
from admin.table_tenants import tenants
from admin.usage import UsagePage, UsageRoutes
from admin.verifying import Verifying
from registry.admin_keys import Role

VIEWER, OPERATOR, OWNER = Role

_NOT_READY = 503


@dataclass(frozen=True, slots=True)
class Doors:
    """Who answers the routes."""

    acts: Acts
    state: State
    orders: OrderRoutes
    levels: LevelRoutes
    moves: MoveRoutes
    advice: AdviceRoutes
    busiest: BusiestRoutes
    usage: UsageRoutes
    verifying: Verifying
    across: AcrossDoor
    admin_keys: AdminKeyRoutes


def table(doors: Doors) -> tuple[Act, ...]:
    """All routes but that of the document."""
    return (
        *_gateway(doors),
        *_audit(doors.acts),
        *_admin_keys(doors.admin_keys),
        *clusters(doors.acts),
        *tenants(doors.acts, doors.state, doors.moves),
    )


def _gateway(doors: Doors) -> Iterator[Act]:
    state, orders = doors.state, doors.orders
    yield Act(
        "GET", "/metrics", Entry.OPEN, state.metrics, "Counts and gauges, for Prometheus.",
        "text/plain",
    )  # fmt: skip
    yield Act(
        "GET", "/metrics/tenants/{name}", VIEWER, state.metrics_of,
        "Counts and gauges of one tenant, for Prometheus.", "text/plain",
        refuses=(*r.REGISTRY, r.UnknownTenant),
    )  # fmt: skip
    yield Act("GET", "/livez", Entry.OPEN, state.live, "Whether the process answers.", told_state.LiveTold)
    yield Act(
        "GET", "/readyz", Entry.OPEN, state.ready, "Whether requests may be sent here.",
        told_state.ReadyTold, also={_NOT_READY: told_state.ReadyTold},
    )  # fmt: skip
    yield Act(
        "GET", "/pools", VIEWER, state.pools, "The pools of the process that answers.", told_state.PoolsTold
    )
    yield Act(
        "GET", "/gateways", VIEWER, orders.list_gateways,
        "All processes of all gateways, and what each has.",
        told_state.GatewaysTold, refuses=r.REGISTRY, commands=("gateways", "pools"),
    )  # fmt: skip
    yield Act(
        "GET", "/advice", VIEWER, doors.advice.advise, "Who stands out, and what to do with them.",
        told_load.AdviceTold, asks=Wanted, refuses=(*r.REGISTRY, r.UnknownCluster), commands=("advise",),
    )  # fmt: skip
    yield Act(
        "GET", "/busiest", VIEWER, doors.busiest.busiest, "Who is served, fails and waits most now.",
        told_load.BusiestTold, asks=BusiestPage, refuses=r.REGISTRY, commands=("top",),
    )  # fmt: skip
    yield Act(
        "GET", "/usage", VIEWER, doors.usage.usage, "What tenants have used, for whoever bills them.",
        told_load.UsageTold, asks=UsagePage, refuses=r.REGISTRY, commands=("usage",),
    )  # fmt: skip
    yield Act(
        "GET", "/log-level", VIEWER, doors.levels.show, "How much the logs of all processes say.",
        told_state.LevelsTold, refuses=r.REGISTRY, commands=("log-level",),
    )  # fmt: skip
    yield Act(
        "PUT", "/log-level", OPERATOR, doors.levels.set, "Have the logs of all processes say more or less.",
        told_state.LevelSetTold, takes=NewLevel, refuses=r.REGISTRY,
        example={"level": "debug", "for_s": 600, "wait_s": 1}, commands=("log-level",),
    )  # fmt: skip
    yield Act(
        "POST", "/reload", OWNER, state.reload, "Read the configuration anew.", told_state.ReloadTold,
        takes=Nothing, refuses=(r.SettingsInvalid,), commands=("reload",),
    )  # fmt: skip
    yield Act(
        "GET", "/orders", VIEWER, orders.list_standing, "What is paused or drained now.", told.OrdersTold,
        refuses=r.REGISTRY, commands=("pools",),
    )  # fmt: skip
    yield Act(
        "POST", "/orders", OPERATOR, orders.give, "Have every process pause, drain, reconnect, … something.",
        told_state.OrderGivenTold, takes=NewOrder,
        refuses=(*r.REGISTRY, r.UnknownTenant, r.UnknownPlace, r.UnknownCluster, r.ScopeShared),
        example={"verb": "pause", "tenant": "acme", "for_s": 300, "wait_s": 1},
        commands=("show", "pause", "resume", "drain", "reconnect", "kill"),
    )  # fmt: skip
    yield Act(
        "POST", "/verify", OPERATOR, doors.verifying.verify,
        "Check that the installation keeps its tenants apart: a line for each check.", LINES, takes=Verify,
        refuses=(*r.CLUSTER, r.VerifyRunning, r.UnknownTenant, r.UnknownPlace, r.UnknownCluster),
        example={"cluster": "standard-1", "tries": False}, commands=("verify",),
    )  # fmt: skip
    yield Act(
        "POST", PATH, Entry.APART, doors.across.read_across,
        "Run one statement in every place: a line for each row and place.", LINES, takes=AcrossAll,
        refuses=(
            *r.REGISTRY, r.AcrossClosed, r.AcrossKeyNeeded, r.AcrossNotAdmitted, *r.STATEMENT,
            r.UnknownTenant, r.UnknownCluster,
        ),
        example={
            "query": "SELECT count(*) FROM tasks", "reason": "ticket 4711: how many tasks are there",
            "i_know_this_reads_every_tenant": True,
        },
        commands=("admin query",),
    )  # fmt: skip


def _admin_keys(keys: AdminKeyRoutes) -> Iterator[Act]:
    yield Act(
        "GET", "/admin-keys", VIEWER, keys.list_keys, "Keys of operators.", told_audit.AdminKeysTold,
        refuses=r.REGISTRY, commands=("admin key list",),
    )  # fmt: skip
    yield Act(
        "POST", "/admin-keys", OWNER, keys.create, "Make a key for an operator; it is told this once.",
        told_audit.AdminKeyMadeTold, 201, takes=NewAdminKey, refuses=(*r.REGISTRY, r.AdminKeyTaken),
        example={"name": "ann", "role": "operator"}, commands=("admin key create",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/admin-keys/{id}", OWNER, keys.revoke, "End an operator's key at once.",
        told_audit.AdminKeyTold, refuses=(*r.REGISTRY, r.UnknownCredential), commands=("admin key revoke",),
    )  # fmt: skip


def _audit(acts: Acts) -> Iterator[Act]:
    yield Act(
        "GET", "/audit", VIEWER, acts.audit, "Who did what.", told_audit.AuditTold,
        asks=AuditPage, refuses=r.REGISTRY, commands=("audit",),
    )  # fmt: skip
    yield Act(
        "GET", "/audit/verify", VIEWER, acts.verify_audit, "Whether the audit is as it was written.",
        told_audit.AuditVerifiedTold, asks=Expected, refuses=r.REGISTRY, commands=("audit",),
    )  # fmt: skip
