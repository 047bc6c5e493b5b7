"""Has every cluster's storage measured once a day, by whichever process comes to it first."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from fleet.access import access_of
from fleet.storage import database_sizes, schema_sizes, shared_sizes
from registry.cache import jitter
from registry.records import Cluster
from registry.rows.storage import Resident
from registry.store import Store
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from tiergate.events import Emit, LoopFailed
from tiergate.tenant import TenantId, Tier

_LOOK_S = 60.0
"""Also from the start on: who only looks in is gone by then."""
_CLUSTER_S = 600.0


class Measurer:
    """Measures what is due, and writes it down."""

    def __init__(self, store: Store, *, emit: Emit) -> None:
        self._store = store
        self._emit = emit

    async def run_once(self) -> str | None:
        """Measure the cluster that is due first; its name, None when none is.

        What fails is due again in an hour.

        Raises:
            TiergateError: The registry or the cluster does not answer, or not in time.
        """
        name = await self._store.claim_storage()
        if name is not None:
            residents = await self._store.residents(name)
            sizes = await _sizes(await self._store.cluster(name), residents)
            await self._store.write_storage(
                [(each.tenant, each.tier, sizes[each.tenant]) for each in residents if each.tenant in sizes]
            )
            await self._store.settle_storage(name)
        return name

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            await asyncio.sleep(_LOOK_S * jitter())
            try:
                while await self.run_once() is not None:
                    pass
            except TiergateError:
                pass  # told where it was lost
            except Exception as error:  # noqa: BLE001 - who no longer measures must go on trying
                self._emit(LoopFailed(loop="storage", error=f"{type(error).__name__}: {error}"))


async def _sizes(cluster: Cluster, residents: Sequence[Resident]) -> Mapping[TenantId, int]:
    """Bytes of each tenant whose place is there."""
    access, deadline = access_of(cluster), Deadline.after(_CLUSTER_S)
    if cluster.tier is Tier.GOVERNMENT:
        by_database = await database_sizes(access, [each.database for each in residents], deadline)
        return {each.tenant: by_database[each.database] for each in residents if each.database in by_database}
    sizes: dict[TenantId, int] = {}
    databases: defaultdict[str, list[Resident]] = defaultdict(list)
    for each in residents:
        databases[each.database].append(each)
    for database, there in databases.items():
        schemas = list(dict.fromkeys(each.schema for each in there))
        if cluster.tier is Tier.PREMIUM:
            by_schema = await schema_sizes(access, database, schemas, deadline)
            sizes |= {each.tenant: by_schema[each.schema] for each in there}
            continue
        for schema in schemas:
            who = [each.tenant for each in there if each.schema == schema]
            sizes |= await shared_sizes(access, database, schema, who, deadline)
    return sizes
