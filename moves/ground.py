"""Both ends of a move, opened by the worker that has it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg

from fleet.access import Connection, is_outage
from fleet.errors import ClusterUnreachable, ProvisioningFailed, ProvisioningTimeout
from moves.ends import Way, open_end
from moves.steps import Reached, Step
from moves.tables import Table
from tiergate.deadline import Deadline

# Idle in a transaction for too long, or in one that took too long: we stood still, and the server hung up.
_SESSION_ENDED = frozenset({"25P03", "25P04"})


@dataclass(frozen=True, slots=True)
class Ground:
    """What a step of a move works on; both connections are the administrator's, and in autocommit.

    Attributes:
        tables: What is moved.
        reached: Is told of each step.
    """

    way: Way
    source: Connection
    target: Connection
    tables: tuple[Table, ...]
    told: Reached

    async def reached(self, step: Step) -> None:
        """Tell of a step."""
        await self.told(self.way.move, step)

    @property
    def source_schema(self) -> str:
        """Of the application's tables at the source."""
        return self.way.source.placement.place.schema

    @property
    def target_schema(self) -> str:
        """The same at the target."""
        return self.way.target.placement.place.schema


@asynccontextmanager
async def open_ends(way: Way, step: str, deadline: Deadline) -> AsyncIterator[tuple[Connection, Connection]]:
    """Connections to the source and the target; what their drivers raise is told in our words.

    Args:
        step: What is being done, as in "could not …".

    Raises:
        ProvisioningTimeout: The deadline, or the wait for a lock, is over.
        ClusterUnreachable: No connection, or it broke.
        ProvisioningFailed: A server refused.
    """
    names = [way.source.access.name, way.target.access.name]
    opened: list[Connection] = []
    try:
        async with open_end(way.source, deadline, way.session) as source:
            opened.append(source)
            async with open_end(way.target, deadline, way.session) as target:
                opened.append(target)
                yield source, target
    except (pg.LockNotAvailable, pg.QueryCanceled) as exc:
        raise ProvisioningTimeout(_whose(names, opened), step) from exc
    except psycopg.Error as exc:
        reason = exc.diag.message_primary or " ".join(str(exc).split())
        if is_outage(exc) or exc.sqlstate in _SESSION_ENDED:
            raise ClusterUnreachable(_whose(names, opened), reason) from exc
        raise ProvisioningFailed(_whose(names, opened), step, exc.sqlstate, reason) from exc


def _whose(names: list[str], opened: list[Connection]) -> str:
    """The cluster that could not be opened, or whose connection is broken; both where that is not clear."""
    if len(opened) < len(names):
        return names[len(opened)]
    broken = [name for name, connection in zip(names, opened, strict=True) if connection.broken]
    return broken[0] if len(broken) == 1 else " or ".join(names)
