"""Numbers that tables give their rows go on at the target where the source leaves off, never backwards."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.access import Connection
from moves.ends import End, Way
from moves.errors import MoveRefused
from moves.tables import Table
from moves.together import together
from tiergate.tenant import Tier

# For numbers that were given to nobody we can see: by transactions that failed, or were told elsewhere.
GAP = 1000
# So many are fetched one by one, which never goes backwards. What lies further is set: that would go back
# only if others took all of these within the microseconds between looking and setting.
_NEAR = 10_000

_STATES = """
SELECT relation, name, pg_get_serial_sequence(relation, name), seqincrement, seqmin, seqmax,
    pg_sequence_last_value(seqrelid)
FROM unnest(%s::text[], %s::text[]) AS wanted (relation, name)
JOIN pg_sequence ON seqrelid = pg_get_serial_sequence(relation, name)::regclass
"""


@dataclass(frozen=True, slots=True)
class _State:
    """One sequence as it is now; *last* is None until it has given its first number."""

    name: str
    step: int
    least: int
    most: int
    last: int | None


async def advance(source: Connection, target: Connection, way: Way, tables: Sequence[Table]) -> int:
    """Put each identity sequence at the target well past the source's; on shared tables while others use it.

    Not undone by a rollback, and need not be. How many were behind.

    Raises:
        MoveRefused: One has used up so much that those who share the target's would soon have no numbers.
    """
    async with together() as tasks:
        here = tasks.create_task(_states(source, way.source, tables), name="sequences here")
        there = tasks.create_task(_states(target, way.target, tables), name="sequences there")
    moved = 0
    for of, ours in here.result().items():
        theirs = there.result()[of]
        if (wanted := reach(ours)) is None:
            continue
        if way.target.placement.tier is Tier.STANDARD and _is_spent(ours):
            why = (
                f"numbers of {theirs.name}: half are used up at the source, and the target's are everybody's"
            )
            raise MoveRefused(way.tenant, (why,))
        if theirs.last is None:
            await target.execute("SELECT setval(%s::regclass, %s)", (theirs.name, wanted))
        elif (steps := -((theirs.last - wanted) // theirs.step)) <= 0:
            continue
        elif steps <= _NEAR:
            await target.execute(
                "SELECT count(nextval(%s::regclass)) FROM generate_series(1, %s)", (theirs.name, steps)
            )
        else:
            await target.execute("SELECT setval(%s::regclass, %s)", (theirs.name, wanted))
        moved += 1
    return moved


def reach(state: _State) -> int | None:
    """The number that the other sequence shall have given at least; None when none was given here."""
    if state.last is None:
        return None
    wanted = state.last + GAP * state.step
    return wanted if state.least <= wanted <= state.most else state.last


def _is_spent(state: _State) -> bool:
    """Whether half of its numbers are gone."""
    last = state.last or 0
    return abs(last) > (state.most if state.step > 0 else -state.least) // 2


async def _states(connection: Connection, end: End, tables: Sequence[Table]) -> dict[tuple[str, str], _State]:
    schema = end.placement.place.schema
    of = {(table.within(schema), name): (table.name, name) for table in tables for name in table.identity}
    if not of:
        return {}
    relations, names = zip(*of, strict=True)
    cursor = await connection.execute(_STATES.encode(), (list(relations), list(names)))
    return {
        of[relation, name]: _State(sequence, step, least, most, last)
        for relation, name, sequence, step, least, most, last in await cursor.fetchall()
    }
