"""How requests reach each cluster, and which key signs their contexts in each database."""

from sqlalchemy import RowMapping, Select, exists, func, select, update

from registry.errors import UnknownCluster, UnknownDatabase
from registry.placement import Place, PlaceId
from registry.records import ContextKey, Entry, PlaceState
from registry.rows.asking import Asking, row, rows, tell
from registry.tables import CLUSTER, DATA_DATABASE, PLACE
from tiergate.tenant import Tier


class Contexts(Asking):
    """Context keys by database, and the pooler that requests go through."""

    async def set_pgbouncer(self, cluster: str, address: str | None, *, prepares: bool, actor: str) -> None:
        """Requests to *cluster* go through the pooler at *address* from now on; None for none.

        Raises:
            UnknownCluster: There is none of that name.
        """
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(CLUSTER)
                .where(CLUSTER.c.name == cluster)
                .values(pgbouncer=address, pgbouncer_prepares=prepares)
                .returning(CLUSTER.c.name),
            )
            if changed is None:
                raise UnknownCluster(cluster)
            detail = {"through": address is not None, "prepares": prepares}
            await self._write_down(connection, Entry(actor, "cluster.set-pgbouncer", cluster, detail=detail))
            await tell(connection, all=True)

    async def context_keys(self, cluster: str | None = None) -> list[ContextKey]:
        """The key of every database, or of one cluster's; by cluster and database."""
        statement = _keys()
        if cluster is not None:
            statement = statement.where(DATA_DATABASE.c.cluster == cluster)
        async with self._reading() as connection:
            return [_key(found) for found in await rows(connection, statement)]

    async def context_key(self, cluster: str, database: str) -> ContextKey:
        """The key of one database.

        Raises:
            UnknownDatabase: There is none of that name.
        """
        async with self._reading() as connection:
            found = await row(connection, _one(_keys(), cluster, database))
        if found is None:
            raise UnknownDatabase(cluster, database)
        return _key(found)

    def context_place(self, key: ContextKey, kid: int) -> Place:
        """What the database's own table is to know of its key *kid*; of a place, nothing else is in it."""
        return Place(
            id=PlaceId(""), tier=Tier.STANDARD, cluster=key.cluster, conninfo="", database=key.database,
            schema="", login="", password="", context_kid=kid, via_pgbouncer=key.via_pgbouncer,
            context_key=self._vault.context_key(key.cluster, key.database, kid),
        )  # fmt: skip

    async def switch_context_key(self, key: ContextKey, kid: int, *, actor: str) -> bool:
        """Have every gateway sign with *kid* instead of *key*; whether nobody else had switched.

        The database must know both already.
        """
        return await self._change_key(
            key, Entry(actor, "context-key.rotate", f"{key.cluster}/{key.database}", detail={"kid": kid}),
            context_kid=kid, context_retiring=key.kid, context_since=func.now(),
        )  # fmt: skip

    async def forget_retired_key(self, key: ContextKey, *, actor: str) -> bool:
        """The database no longer knows the key before *key*; whether nobody else had said so."""
        subject, detail = f"{key.cluster}/{key.database}", {"kid": key.retiring}
        entry = Entry(actor, "context-key.retire", subject, detail=detail)
        return await self._change_key(key, entry, context_retiring=None)

    async def _change_key(self, key: ContextKey, entry: Entry, **values: object) -> bool:
        async with self._changing() as connection:
            changed = await row(
                connection,
                update(DATA_DATABASE)
                .where(
                    DATA_DATABASE.c.cluster == key.cluster,
                    DATA_DATABASE.c.database == key.database,
                    DATA_DATABASE.c.context_kid == key.kid,
                    DATA_DATABASE.c.context_retiring.is_not_distinct_from(key.retiring),
                )
                .values(values)
                .returning(DATA_DATABASE.c.database),
            )
            if changed is not None:
                await self._write_down(connection, entry)
                await tell(connection, all=True)
        return changed is not None


def _keys() -> Select[tuple[object, ...]]:
    is_made = exists().where(
        PLACE.c.cluster == DATA_DATABASE.c.cluster,
        PLACE.c.database == DATA_DATABASE.c.database,
        PLACE.c.state == PlaceState.READY,
    )
    return (
        select(
            DATA_DATABASE,
            is_made.label("is_made"),
            CLUSTER.c.pgbouncer.is_not(None).label("via_pgbouncer"),
            func.extract("epoch", func.now() - DATA_DATABASE.c.context_since).label("age_s"),
        )
        .join(CLUSTER, CLUSTER.c.name == DATA_DATABASE.c.cluster)
        .order_by(DATA_DATABASE.c.cluster, DATA_DATABASE.c.database)
    )


def _one(keys: Select[tuple[object, ...]], cluster: str, database: str) -> Select[tuple[object, ...]]:
    return keys.where(DATA_DATABASE.c.cluster == cluster, DATA_DATABASE.c.database == database)


def _key(found: RowMapping) -> ContextKey:
    return ContextKey(
        cluster=found["cluster"],
        database=found["database"],
        kid=found["context_kid"],
        retiring=found["context_retiring"],
        since=found["context_since"],
        age_s=float(found["age_s"]),
        is_made=found["is_made"],
        via_pgbouncer=found["via_pgbouncer"],
    )
