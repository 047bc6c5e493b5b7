"""What an operator may do with the keys that sign contexts, and with the way that requests take.

Each act may be asked for again after a crash at any point. A key's replacement goes in an order in
which every gateway is believed at every moment: the database learns the new key, then the registry names
it, and only when no gateway can sign with the old one any more does the database forget that.
"""

from admin.acting import Acting
from admin.dsn import read_address
from admin.errors import KeyInUse
from fleet.contexts import drop_keys_before, let_through, put_key, try_pooler
from registry.records import Cluster, ContextKey, PlaceState
from tiergate.deadline import Deadline

_REMEMBERED_S = 750.0


class Contexts(Acting):
    """Acts on context keys and poolers.

    Attributes:
        retire_after_s: For how long a gateway may go on signing with a key that was replaced.
    """

    retire_after_s: float = _REMEMBERED_S

    async def context_keys(self, cluster: str | None = None) -> list[ContextKey]:
        """The key of every database, or of one cluster's.

        Raises:
            UnknownCluster: There is none of that name.
        """
        if cluster is not None:
            await self._store.cluster(cluster)
        return await self._store.context_keys(cluster)

    async def rotate_context_key(
        self, cluster: str, database: str, *, actor: str, deadline: Deadline
    ) -> ContextKey:
        """Have contexts in *database* signed by a new key; the old one stays good until it is retired.

        While an older key waits to be retired, and before the database is made, nothing is done:
        so a rotation of many databases that was interrupted goes on where it was.

        Raises:
            UnknownDatabase: There is none of that name.
        """
        async with self._witnessed(actor, "context-key.rotate", f"{cluster}/{database}"):
            key = await self._store.context_key(cluster, database)
            if key.retiring is not None or not key.is_made:
                return key
            access = await self.access(cluster)
            await put_key(access, self._store.context_place(key, key.kid + 1), deadline)
            await self._store.switch_context_key(key, key.kid + 1, actor=actor)
            return await self._store.context_key(cluster, database)

    async def retire_context_key(
        self, cluster: str, database: str, *, at_once: bool, actor: str, deadline: Deadline
    ) -> ContextKey:
        """Have *database* refuse the key before the one that signs now.

        Args:
            at_once: Do not wait until every gateway has forgotten it. One that hears the registry reads the
                new one when it is refused; one that does not is refused from then on.

        Raises:
            UnknownDatabase: There is none of that name.
            KeyInUse: A gateway may still sign with it.
        """
        async with self._witnessed(actor, "context-key.retire", f"{cluster}/{database}"):
            key = await self._store.context_key(cluster, database)
            if key.retiring is None:
                return key
            if not at_once and (left_s := self.retire_after_s - key.age_s) > 0:
                raise KeyInUse(cluster, database, left_s)
            access = await self.access(cluster)
            await drop_keys_before(access, database, key.kid, deadline)
            await self._store.forget_retired_key(key, actor=actor)
            return await self._store.context_key(cluster, database)

    async def set_pgbouncer(
        self, name: str, address: str | None, *, prepares: bool, actor: str, deadline: Deadline
    ) -> Cluster:
        """Send requests to a cluster through PgBouncer, or directly again; administration goes directly.

        The databases are marked before the first request comes through, and unmarked once gateways are told.

        Raises:
            UnknownCluster: There is none of that name.
            BadCluster: The address is not understood.
            PoolerUnfit: The login of a place does not get through.
        """
        where = read_address(address) if address is not None else None
        async with self._witnessed(actor, "cluster.set-pgbouncer", name):
            access = await self.access(name)
            if where is None:
                await self._store.set_pgbouncer(name, None, prepares=False, actor=actor)
            else:
                places = await self._store.places(name)
                for place in [known.place for known in places if known.state is PlaceState.READY][:1]:
                    await try_pooler(place, where, deadline)
            for key in await self._store.context_keys(name):
                if key.is_made:
                    await let_through(access, key.database, deadline, pooled=where is not None)
            if where is not None:
                await self._store.set_pgbouncer(name, where, prepares=prepares, actor=actor)
            return await self._store.cluster(name)
