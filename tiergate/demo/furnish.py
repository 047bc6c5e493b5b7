"""What the demo puts into an empty registry: clusters, tenants with rows, and a key for each.

Every step may be cut short at any point, and taken up by the next start.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import examples
from pools.lease import RequestLimits, Transaction
from pools.statement import Statement
from registry.credentials import Scope, key_id
from registry.errors import TenantExists, UnknownCluster
from tiergate.deadline import Deadline
from tiergate.demo.folder import kept, write
from tiergate.embedded import Cluster
from tiergate.service import Gateway
from tiergate.tenant import TenantId, Tier

CLUSTERS = {"standard": Tier.STANDARD, "premium": Tier.PREMIUM, "government": Tier.GOVERNMENT}
TENANTS = {
    TenantId("acme"): Tier.STANDARD,
    TenantId("umbrella"): Tier.STANDARD,
    TenantId("globex"): Tier.PREMIUM,
    TenantId("treasury"): Tier.GOVERNMENT,
}
DATABASE = "application"
EXAMPLES = Path(examples.__file__).parent
_ACTOR = "demo"
_STEP_S = 60.0
_SEED_BYTES = 1 << 20


async def furnish(gateway: Gateway, clusters: Mapping[str, Cluster], keys_file: Path) -> dict[TenantId, str]:
    """Clusters, tenants, rows and keys, as far as they are not there yet; the tenants' keys."""
    known: dict[str, str] = json.loads(kept(keys_file, "{}"))
    async with asyncio.TaskGroup() as adding:
        for name, tier in CLUSTERS.items():
            adding.create_task(_cluster(gateway, clusters[name], name, tier), name=f"add cluster {name}")
    async with asyncio.TaskGroup() as making:
        tasks = {
            name: making.create_task(_tenant(gateway, name, tier, known.get(name)), name=f"furnish {name}")
            for name, tier in TENANTS.items()
        }
    keys = {name: task.result() for name, task in tasks.items()}
    write(keys_file, json.dumps(keys, indent=2) + "\n")
    return keys


async def _cluster(gateway: Gateway, cluster: Cluster, name: str, tier: Tier) -> None:
    database = "postgres" if tier is Tier.GOVERNMENT else DATABASE
    with contextlib.suppress(UnknownCluster):
        known = await gateway.store.cluster(name)
        # A port that was taken meanwhile is another one now; what is behind it is the same.
        await gateway.store.set_cluster_address(
            name,
            conninfo=f"host={cluster.host} port={cluster.port}",
            admin_user=known.admin_user,
            admin_password=known.admin_password,
            actor=_ACTOR,
        )
        return
    await gateway.operations.add_cluster(
        name, tier, cluster.conninfo(database), region=None, actor=_ACTOR, deadline=Deadline.after(_STEP_S)
    )


async def _tenant(gateway: Gateway, name: TenantId, tier: Tier, key: str | None) -> str:
    """The tenant with its rows; returns a key of it."""
    deadline = Deadline.after(_STEP_S)
    with contextlib.suppress(TenantExists):
        await gateway.operations.create_tenant(
            name, tier, region=None, cluster=tier.value, actor=_ACTOR, deadline=deadline
        )
    if key is not None and await _is_valid(gateway, key):
        return key
    placement = await gateway.directory.locate(name, deadline)
    seeds = (EXAMPLES / "seed.sql").read_text(encoding="utf-8").split("\n;\n")
    statements = [Statement(seed) for seed in seeds if seed.strip()]
    async with gateway.switchboard.lease(placement, deadline) as lease:
        await lease.run(Transaction(statements), RequestLimits(_STEP_S, _SEED_BYTES))
    made = await gateway.operations.create_key(
        name, [Scope.READ, Scope.WRITE], note="demo", expires_at=None, actor=_ACTOR
    )
    return made.text


async def _is_valid(gateway: Gateway, key: str) -> bool:
    """Whether the registry still takes a key from an earlier start; it may have been revoked since."""
    shown = key_id(key)
    known = None if shown is None else await gateway.store.credential(shown)
    return known is not None and known.is_valid(datetime.now(UTC))
