"""The audit, read and verified; it is written by `registry.rows.asking` together with each change."""

from collections.abc import AsyncIterator

from sqlalchemy import ColumnElement, RowMapping, Text, cast, literal_column, or_, select

from registry.chain import Chained, Head, Verified, Walk, detail
from registry.records import Asked, AuditEntry, Entry
from registry.rows.asking import Asking, rows
from registry.tables import AUDIT, REGISTRY

_PAGE = 500
"""Entries looked at between two turns of the event loop: about 10 ms."""

_AT: ColumnElement[str] = literal_column(
    """to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
)


class Audit(Asking):
    """Who did what, and whether it still says so."""

    async def audit_entries(self, limit: int = 100, asked: Asked = Asked()) -> list[AuditEntry]:  # noqa: B008 - frozen
        """The latest entries that are meant, newest first; with *asked.newer* the next ones, oldest first."""
        order = AUDIT.c.id.desc() if asked.newer is None else AUDIT.c.id
        wanted = select(AUDIT).order_by(order).limit(limit)
        if asked.newer is not None:
            wanted = wanted.where(AUDIT.c.id > asked.newer)
        if asked.before is not None:
            wanted = wanted.where(AUDIT.c.id < asked.before)
        if asked.tenant is not None:
            by_name = (AUDIT.c.subject == asked.tenant) & AUDIT.c.act.not_like("cluster.%")
            wanted = wanted.where(or_(by_name, AUDIT.c.detail["tenant"].astext == asked.tenant))
        if asked.actor is not None:
            wanted = wanted.where(AUDIT.c.actor == asked.actor)
        if asked.act is not None:
            wanted = wanted.where(
                or_(AUDIT.c.act == asked.act, AUDIT.c.act.startswith(asked.act + ".", autoescape=True))
            )
        if asked.since is not None:
            wanted = wanted.where(AUDIT.c.at >= asked.since)
        async with self._reading() as connection:
            return [_audited(found) for found in await rows(connection, wanted)]

    async def verify_audit(self, expected: Head | None = None) -> Verified:
        """Walk along the whole chain; *expected* and the newest entry seen here must be in it."""
        async with self._reading() as connection:
            registry = (await rows(connection, select(REGISTRY.c.id)))[0]["id"]
        remembered = tuple(known for known in (expected, self._head) if known is not None)
        walk = Walk(self._vault.audit_key(registry), remembered)
        async for found in self._chain():
            if (broken := walk.step(found)) is not None:
                return Verified(walk.last, broken)
        return Verified(walk.last, walk.end())

    async def _chain(self) -> AsyncIterator[Chained]:
        columns = [column for column in AUDIT.c if column not in {AUDIT.c.at, AUDIT.c.detail}]
        pages = select(*columns, _AT.label("at"), cast(AUDIT.c.detail, Text).label("detail"))
        pages, last = pages.order_by(AUDIT.c.id).limit(_PAGE), 0
        while True:
            async with self._reading() as connection:
                page = await rows(connection, pages.where(AUDIT.c.id > last))
            for found in page:
                said = Entry(
                    found["actor"], found["act"], found["subject"], found["outcome"], detail(found["detail"])
                )
                yield Chained(found["id"], found["at"], said, found["previous"], found["digest"])
            if len(page) < _PAGE:
                return
            last = page[-1]["id"]


def _audited(found: RowMapping) -> AuditEntry:
    said = Entry(found["actor"], found["act"], found["subject"], found["outcome"], found["detail"])
    return AuditEntry(found["id"], found["at"], said, found["digest"])
