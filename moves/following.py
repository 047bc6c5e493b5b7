"""Keeps the target what the source is, pass after pass, and proves that it is.

No pass takes more of the log than a bound, so that none holds its transactions open, or the keys in memory,
for longer than that takes. Only of a whole pass is anything said about rows that are not in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from psycopg import errors as pg

from fleet.access import Connection
from fleet.identifier import quote_literal
from moves import guard
from moves.digests import Difference, Key, compare_keys, delta_differs, whole
from moves.errors import RowsDiffer
from moves.evidence import TableProof
from moves.ground import Ground
from moves.passes import Pass, open_pass
from moves.steps import Step
from moves.tables import Table
from moves.together import together
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

MOST_LINES = 20_000
"""Lines of the log in one pass: some seconds."""
FOLLOW_S = 30.0
"""After that a move that waits looks what is asked of it, however much there is to bring."""

Suspects: TypeAlias = tuple[Table, Sequence[Key]]
"""Rows of a table that may differ, by their keys."""


async def run_pass(
    ground: Ground, suspects: Suspects | None = None, *, compares: bool = False, most: int | None = MOST_LINES
) -> Pass:
    """Bring over what has changed, or *most* lines of it.

    Args:
        suspects: Keys of a table, whose rows are compared at the pass's moment, if it is whole.
        compares: Compare the rows that it brings, too, by digests.

    Raises:
        RowsDiffer: One of those rows is not the same.
        MoveSuperseded: Another worker has the move.
    """
    way, source, target = ground.way, ground.source, ground.target
    await _hear_of_others(ground)
    at_target = partial(ground.reached, Step.CHANGES_AT_TARGET)
    try:
        async with open_pass(source, target, way, ground.tables, most=most, at_target=at_target) as brought:
            if compares and (unlike := await delta_differs(source, target, way, ground.tables, brought)):
                raise RowsDiffer(way.tenant, unlike[0].table, unlike[0].key_text)
            if suspects is not None and brought.is_whole:
                table, keys = suspects
                if differing := await compare_keys(source, target, way, table, keys):
                    raise RowsDiffer(way.tenant, table.name, Difference(table.name, differing[0]).key_text)
    except (pg.UniqueViolation, pg.ExclusionViolation):
        if most is None:
            raise
        # A row takes a value from one whose line is not among these: all at once then, however many.
        return await run_pass(ground, suspects, compares=compares, most=None)
    await ground.reached(Step.CHANGES_DONE)
    return brought


async def catch_up(
    ground: Ground,
    suspects: Suspects | None = None,
    *,
    compares: bool = False,
    deadline: Deadline | None = None,
) -> Pass:
    """Passes as `run_pass` makes them, until one is whole, or for as long as there is time.

    Returns:
        The last of them, with the keys of all counted.
    """
    keys = 0
    while True:
        brought = await run_pass(ground, suspects, compares=compares, most=MOST_LINES)
        keys += brought.keys
        if brought.is_whole or (deadline is not None and not deadline.left_s()):
            return replace(brought, keys=keys)


async def _hear_of_others(ground: Ground) -> None:
    """Rows that somebody else has changed at the target count as changed: the source's are brought again.

    Only who goes past every fence can do that: a superuser, or the door across tenants.
    """
    while await _hear_of_some(ground) == MOST_LINES:
        pass


async def _hear_of_some(ground: Ground) -> int:
    async with ground.target.transaction():
        await guard.hold(ground.target, ground.way)  # else what clients write at the new place is meant
        cursor = await ground.target.execute(
            "DELETE FROM tiergate.dirty WHERE ctid = ANY (ARRAY("
            "SELECT ctid FROM tiergate.dirty WHERE move_id = %s LIMIT %s)) RETURNING table_name, key::text",
            (ground.way.move, MOST_LINES),
        )
        if changed := await cursor.fetchall():
            # First here for good, then there: known twice does no harm.
            await ground.source.execute(
                "INSERT INTO tiergate.dirty (move_id, table_name, key)"
                " SELECT %s, name, key::jsonb FROM unnest(%s::text[], %s::text[]) AS each (name, key)",
                (ground.way.move, [name for name, _ in changed], [key for _, key in changed]),
            )
    return len(changed)


async def follow(ground: Ground) -> Pass:
    """Keep the target equal while a move waits: passes that compare what they bring, `FOLLOW_S` at most."""
    return await catch_up(ground, compares=True, deadline=Deadline.after(FOLLOW_S))


async def prove(ground: Ground) -> list[TableProof]:
    """Digests of all rows at both ends, at one moment of the source: one snapshot of it, for all tables.

    At the target they are taken in the transaction that has made it equal, with the guard held. Rows that
    change afterwards are compared by the passes that bring them.

    Raises:
        RowsDiffer: They are not the same.
        MoveSuperseded: Another worker has the move.
    """
    way, source, target = ground.way, ground.source, ground.target
    proofs = []
    await catch_up(ground)  # so that what is brought in that snapshot is little
    async with open_pass(source, target, way, ground.tables):
        for table in ground.tables:
            async with together() as tasks:
                here = tasks.create_task(whole(source, way.tenant, ground.source_schema, table), name="here")
                there = tasks.create_task(
                    whole(target, way.tenant, ground.target_schema, table), name="there"
                )
            if here.result() != there.result():
                raise RowsDiffer(way.tenant, table.name, "(one of them)")
            rows = await _rows(source, way.tenant, table.within(ground.source_schema))
            proofs.append(TableProof(table.name, rows, here.result(), there.result()))
    return proofs


async def _rows(connection: Connection, tenant: TenantId, relation: str) -> int:
    cursor = await connection.execute(
        f"SELECT count(*) FROM {relation} WHERE tenant_id = {quote_literal(tenant)}".encode()  # noqa: S608 - quoted
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
