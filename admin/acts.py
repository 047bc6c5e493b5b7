"""The routes of the admin API that change or show what the registry keeps."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from admin.answers import JsonAnswer
from admin.cluster_shapes import NewAddress, NewCluster, NewPooler, NewReplica, cluster_json
from admin.context_shapes import OldKey, OneDatabase, context_key_json
from admin.gate import actor_of, read_limited
from admin.operations import ClusterAdded, Operations
from admin.paths import cluster_of, confirmed, tenant_of
from admin.shapes import (
    AuditPage,
    Expected,
    Json,
    NewKey,
    Nothing,
    Page,
    audit_json,
    key_json,
    read_body,
    read_query,
    verified_json,
)
from admin.tenant_shapes import NewTenant, OwnOfTenant, tenant_json
from registry.credentials import is_key_id
from registry.errors import BadCluster, UnknownCredential, UnknownReplica
from registry.records import Asked, ContextKey
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId, tenant_id

T = TypeVar("T")

WORK_S = 60.0
"""For one act, however many clusters are slow; the caller may ask again."""

_OK = 200
_CREATED = 201


class Acts:
    """Routes that change or show what the registry keeps."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def list_clusters(self, request: Request) -> Response:
        """`GET /clusters`."""
        page = read_query(Page, request.query_params)
        found = [each for each in await self._operations.clusters() if each.name > page.after]
        return _page("clusters", found, page.limit, cluster_json, lambda each: each.name)

    async def add_cluster(self, request: Request) -> Response:
        """`POST /clusters`."""
        asked = read_body(NewCluster, await read_limited(request))
        added = await self._operations.add_cluster(
            asked.name,
            asked.tier,
            asked.dsn,
            region=asked.region,
            actor=actor_of(request),
            deadline=Deadline.after(WORK_S),
        )
        return JsonAnswer({**cluster_json(added.cluster), "warnings": _warnings(added)}, _CREATED)

    async def show_cluster(self, request: Request) -> Response:
        """`GET /clusters/{name}`."""
        return JsonAnswer(cluster_json(await self._operations.cluster(cluster_of(request))))

    async def remove_cluster(self, request: Request) -> Response:
        """`DELETE /clusters/{name}`."""
        name = confirmed(request)
        await self._operations.remove_cluster(name, actor=actor_of(request))
        return JsonAnswer({"name": name, "state": "removed"})

    async def set_address(self, request: Request) -> Response:
        """`PUT /clusters/{name}/address`."""
        asked = read_body(NewAddress, await read_limited(request))
        moved = await self._operations.set_address(
            cluster_of(request),
            asked.dsn,
            actor=actor_of(request),
            deadline=Deadline.after(WORK_S),
        )
        return JsonAnswer(cluster_json(moved))

    async def set_pgbouncer(self, request: Request) -> Response:
        """`PUT /clusters/{name}/pgbouncer`."""
        asked = read_body(NewPooler, await read_limited(request))
        return await self._send_through(request, asked.address, prepares=asked.prepared_statements)

    async def unset_pgbouncer(self, request: Request) -> Response:
        """`DELETE /clusters/{name}/pgbouncer`."""
        return await self._send_through(request, None, prepares=False)

    async def _send_through(self, request: Request, address: str | None, *, prepares: bool) -> Response:
        done = await self._operations.set_pgbouncer(
            cluster_of(request),
            address,
            prepares=prepares,
            actor=actor_of(request),
            deadline=Deadline.after(WORK_S),
        )
        return JsonAnswer(cluster_json(done))

    async def add_replica(self, request: Request) -> Response:
        """`PUT /clusters/{name}/replicas/{replica}`."""
        asked = read_body(NewReplica, await read_limited(request))
        cluster, replica = cluster_of(request), request.path_params["replica"]
        if tenant_id(replica) is None:
            raise BadCluster(f"{replica!r} cannot name a replica")
        done = await self._operations.add_replica(
            cluster, replica, asked.address, actor=actor_of(request), deadline=Deadline.after(WORK_S)
        )
        return JsonAnswer(cluster_json(done))

    async def remove_replica(self, request: Request) -> Response:
        """`DELETE /clusters/{name}/replicas/{replica}`."""
        cluster, replica = cluster_of(request), request.path_params["replica"]
        if tenant_id(replica) is None:
            raise UnknownReplica(cluster, replica)
        done = await self._operations.remove_replica(cluster, replica, actor=actor_of(request))
        return JsonAnswer(cluster_json(done))

    async def list_context_keys(self, request: Request) -> Response:
        """`GET /context-keys`."""
        page = read_query(Page, request.query_params)
        found = sorted(await self._operations.context_keys(page.cluster), key=_name)
        left = [each for each in found if _name(each) > page.after]
        return _page("context_keys", left, page.limit, self._key_json, _name)

    async def rotate_context_key(self, request: Request) -> Response:
        """`POST /context-keys/rotate`."""
        asked = read_body(OneDatabase, await read_limited(request))
        done = await self._operations.rotate_context_key(
            asked.cluster, asked.database, actor=actor_of(request), deadline=Deadline.after(WORK_S)
        )
        return JsonAnswer(self._key_json(done))

    async def retire_context_key(self, request: Request) -> Response:
        """`POST /context-keys/retire`."""
        asked = read_body(OldKey, await read_limited(request))
        done = await self._operations.retire_context_key(
            asked.cluster,
            asked.database,
            at_once=asked.at_once,
            actor=actor_of(request),
            deadline=Deadline.after(WORK_S),
        )
        return JsonAnswer(self._key_json(done))

    def _key_json(self, key: ContextKey) -> Json:
        return context_key_json(key, self._operations.retire_after_s)

    async def list_tenants(self, request: Request) -> Response:
        """`GET /tenants`."""
        page = read_query(Page, request.query_params)
        # One more than is shown tells whether there are more.
        found = await self._operations.tenants(limit=page.limit + 1, after=page.after, tier=page.tier)
        return _page("tenants", found, page.limit, tenant_json, lambda each: each.name)

    async def create_tenant(self, request: Request) -> Response:
        """`POST /tenants`."""
        asked = read_body(NewTenant, await read_limited(request))
        made = await self._operations.create_tenant(
            TenantId(asked.name),
            asked.tier,
            region=asked.region,
            cluster=asked.cluster,
            actor=actor_of(request),
            deadline=Deadline.after(WORK_S),
        )
        return JsonAnswer(tenant_json(made.tenant), _OK if made.was_there else _CREATED)

    async def show_tenant(self, request: Request) -> Response:
        """`GET /tenants/{name}`."""
        return JsonAnswer(tenant_json(await self._operations.tenant(tenant_of(request))))

    async def set_own(self, request: Request) -> Response:
        """`PATCH /tenants/{name}`."""
        own = read_body(OwnOfTenant, await read_limited(request)).said()
        return JsonAnswer(
            tenant_json(await self._operations.set_own(tenant_of(request), own, actor=actor_of(request)))
        )

    async def delete_tenant(self, request: Request) -> Response:
        """`DELETE /tenants/{name}`."""
        name = tenant_of(request)
        confirmed(request)
        await self._operations.delete_tenant(name, actor=actor_of(request), deadline=Deadline.after(WORK_S))
        return JsonAnswer({"name": name, "state": "deleted"})

    async def suspend(self, request: Request) -> Response:
        """`POST /tenants/{name}/suspend`."""
        read_body(Nothing, await read_limited(request))
        done = await self._operations.suspend(
            tenant_of(request), actor=actor_of(request), deadline=Deadline.after(WORK_S)
        )
        return JsonAnswer({**tenant_json(done.tenant), "drained": done.is_drained})

    async def resume(self, request: Request) -> Response:
        """`POST /tenants/{name}/resume`."""
        read_body(Nothing, await read_limited(request))
        done = await self._operations.resume(
            tenant_of(request), actor=actor_of(request), deadline=Deadline.after(WORK_S)
        )
        return JsonAnswer(tenant_json(done))

    async def list_keys(self, request: Request) -> Response:
        """`GET /tenants/{name}/keys`."""
        page = read_query(Page, request.query_params)
        found = await self._operations.keys(tenant_of(request))
        names = [known.credential.id for known in found]
        begin = names.index(page.after) + 1 if page.after in names else 0
        return _page("keys", found[begin:], page.limit, key_json, lambda each: each.credential.id)

    async def create_key(self, request: Request) -> Response:
        """`POST /tenants/{name}/keys`."""
        asked = read_body(NewKey, await read_limited(request))
        made = await self._operations.create_key(
            tenant_of(request),
            asked.scopes,
            note=asked.note,
            expires_at=asked.expires_at,
            replaces=asked.replaces,
            overlap_s=asked.overlap_s,
            actor=actor_of(request),
        )
        return JsonAnswer({**key_json(made.known), "key": made.text}, _CREATED)

    async def revoke_key(self, request: Request) -> Response:
        """`DELETE /keys/{id}`."""
        key_id = request.path_params["id"]
        if not is_key_id(key_id):
            raise UnknownCredential(key_id)
        await self._operations.revoke_key(key_id, actor=actor_of(request))
        return JsonAnswer({"id": key_id, "state": "revoked"})

    async def audit(self, request: Request) -> Response:
        """`GET /audit`."""
        page = read_query(AuditPage, request.query_params)
        asked = Asked(page.after, page.newer, page.tenant, page.actor, page.act, page.since)
        found = await self._operations.audit(asked, limit=page.limit + 1)
        return _page("entries", found, page.limit, audit_json, lambda each: str(each.id))

    async def verify_audit(self, request: Request) -> Response:
        """`GET /audit/verify`."""
        expected = read_query(Expected, request.query_params).expect
        return JsonAnswer(verified_json(await self._operations.verify_audit(expected)))


def _name(key: ContextKey) -> str:
    return f"{key.cluster}/{key.database}"


def _page(
    member: str, found: Sequence[T], limit: int, as_json: Callable[[T], Json], name: Callable[[T], str]
) -> Response:
    """The first *limit* of what was found, and what to go on after when there is more."""
    shown = found[:limit]
    further = name(shown[-1]) if len(found) > limit else None
    return JsonAnswer({member: [as_json(each) for each in shown], "next": further})


def _warnings(added: ClusterAdded) -> list[str]:
    warnings = [
        f"database {name!r} on that server lets every login in, tenants' logins too: close it to PUBLIC"
        for name in added.open_databases
    ]
    if added.made_anew is not None:
        warnings.append(
            f"schema {added.made_anew!r} of database {added.cluster.database!r} was gone: its tables were"
            " made anew, and are empty"
        )
    return warnings
