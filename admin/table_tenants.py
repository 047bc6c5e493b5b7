"""The routes of the admin API for tenants, their keys and their moves."""

from collections.abc import Iterator

from admin import refusals as r
from admin import told, told_moves, told_state
from admin.acts import Acts
from admin.contract import Act
from admin.moving import MoveRoutes, MovesPage, NewMove
from admin.shapes import NewKey, Nothing, Page, Statement
from admin.state import State
from admin.tenant_shapes import Confirmation, NewTenant, OwnOfTenant
from registry.admin_keys import Role

VIEWER, OPERATOR, OWNER = Role

_CREATED = 201
_STEERS = {
    "pause": "Have a move's worker do nothing more with it.",
    "resume": "Let a paused move go on.",
    "cutover": "Cut over now, whatever `at` and `hold` say.",
    "abort": "Remove what was made at the target; the tenant stays where it is.",
    "rollback": "Lead the tenant back to its old place, with all that was written since.",
    "cleanup": "Remove the old place now.",
    "give-up": "End the move without the place that is to be removed, if its cluster is not reached.",
}


def tenants(acts: Acts, state: State, moves: MoveRoutes) -> tuple[Act, ...]:
    """Those of tenants, of their keys, and of moves."""
    return (*_tenants(acts, state), *_keys(acts), *_moves(moves))


def _tenants(acts: Acts, state: State) -> Iterator[Act]:
    known = (*r.REGISTRY, r.UnknownTenant)
    reached = (*r.CLUSTER, r.UnknownTenant, r.WrongState, r.FenceConflict)
    yield Act(
        "GET", "/tenants", VIEWER, acts.list_tenants, "All tenants.", told.TenantsTold,
        asks=Page, refuses=r.REGISTRY, commands=("tenant list",),
    )  # fmt: skip
    yield Act(
        "POST", "/tenants", OPERATOR, acts.create_tenant, "Take a tenant in, make its place, and serve it.",
        told.TenantTold, _CREATED, also={200: told.TenantTold}, takes=NewTenant,
        refuses=(*r.CLUSTER, *r.MAKING, *r.NOWHERE, r.TenantExists, r.WrongState, r.FenceConflict),
        example={"name": "acme", "tier": "standard"}, commands=("tenant create",),
    )  # fmt: skip
    yield Act(
        "GET", "/tenants/{name}", VIEWER, acts.show_tenant, "One tenant.", told.TenantTold, refuses=known,
        commands=("tenant show",),
    )  # fmt: skip
    yield Act(
        "PATCH", "/tenants/{name}", OPERATOR, acts.set_own, "Change what the tenant has of its own.",
        told.TenantTold, takes=OwnOfTenant, refuses=known, example={"requests_per_s": 50, "weight": 4},
        commands=("tenant set",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/tenants/{name}", OWNER, acts.delete_tenant,
        "Delete a suspended tenant, with its rows, its place and its keys.", told.RemovedTold,
        asks=Confirmation, refuses=(*reached, r.TenantServed, r.MoveOpen), commands=("tenant delete",),
    )  # fmt: skip
    yield Act(
        "POST", "/tenants/{name}/suspend", OPERATOR, acts.suspend, "Refuse the tenant from now on.",
        told.TenantSuspendedTold, takes=Nothing, refuses=reached, commands=("tenant suspend",),
    )  # fmt: skip
    yield Act(
        "POST", "/tenants/{name}/resume", OPERATOR, acts.resume, "Serve the tenant again.",
        told.TenantTold, takes=Nothing, refuses=reached, commands=("tenant resume",),
    )  # fmt: skip
    yield Act(
        "POST", "/tenants/{name}/sql", OPERATOR, state.sql, "Run a statement as the tenant.",
        told_state.SqlTold, takes=Statement, refuses=known, is_door=True,
        example={"query": "SELECT count(*) FROM tasks"}, commands=("psql",),
    )  # fmt: skip


def _keys(acts: Acts) -> Iterator[Act]:
    yield Act(
        "GET", "/tenants/{name}/keys", VIEWER, acts.list_keys, "A tenant's keys.", told.KeysTold,
        asks=Page, refuses=(*r.REGISTRY, r.UnknownTenant), commands=("key list",),
    )  # fmt: skip
    yield Act(
        "POST", "/tenants/{name}/keys", OPERATOR, acts.create_key, "Make a key; it is told this once.",
        told.KeyMadeTold, _CREATED, takes=NewKey,
        refuses=(*r.REGISTRY, r.UnknownTenant, r.UnknownCredential),
        example={"scopes": ["read"], "note": "reports"}, commands=("key create",),
    )  # fmt: skip
    yield Act(
        "DELETE", "/keys/{id}", OPERATOR, acts.revoke_key, "End a key at once.", told.KeyRevokedTold,
        refuses=(*r.REGISTRY, r.UnknownCredential), commands=("key revoke",),
    )  # fmt: skip


def _moves(moves: MoveRoutes) -> Iterator[Act]:
    yield Act(
        "POST", "/tenants/{name}/moves", OPERATOR, moves.plan, "Have the tenant moved while it is in use.",
        told_moves.MovePlannedTold, _CREATED, also={200: told_moves.DryRunTold}, takes=NewMove,
        refuses=(
            *r.CLUSTER, *r.NOWHERE, r.UnknownTenant, r.WrongState, r.MoveOpen, r.SamePlace, r.MoveRefused
        ),
        example={"to": "premium", "dry_run": True}, commands=("promote", "demote", "move"),
    )  # fmt: skip
    yield Act(
        "GET", "/moves", VIEWER, moves.list_moves, "Moves, the latest first.", told_moves.MovesTold,
        asks=MovesPage, refuses=r.REGISTRY, commands=("moves list",),
    )  # fmt: skip
    known = (*r.REGISTRY, r.UnknownMove)
    yield Act(
        "GET", "/moves/{id}", VIEWER, moves.show, "One move, with its journal.", told_moves.MoveShownTold,
        refuses=known, commands=("moves show", "moves watch"),
    )  # fmt: skip
    yield Act(
        "GET", "/moves/{id}/evidence", VIEWER, moves.evidence, "The signed record of a move.",
        told_moves.EvidenceTold, refuses=(*known, r.NotProven), commands=("moves show",),
    )  # fmt: skip
    for wanted, says in _STEERS.items():
        yield Act(
            "POST", f"/moves/{{id}}/{wanted}", OPERATOR, moves.ask, says, told_moves.MoveTold, takes=Nothing,
            refuses=(*known, r.WrongState), commands=(f"moves {wanted}",),
        )  # fmt: skip
