"""One connection to a place, from the dial until it can be lent."""

import asyncio
import random
from collections.abc import Coroutine

import psycopg
from psycopg.pq.abc import PGconn

from pools.bounds import PoolLimits
from pools.dial import dial, hang_up
from pools.errors import ConnectionLost, DatabaseUnavailable
from pools.refusal import first_line, is_of_server
from pools.upkeep import Upkeep
from pools.wire import Wire
from registry.placement import Place


class Opening:
    """A dial. One that did not come to its end must be undone: a server may answer too late."""

    def __init__(self, place: Place, limits: PoolLimits, upkeep: Upkeep) -> None:
        self._place = place
        self._limits = limits
        self._upkeep = upkeep
        self._begun: list[PGconn] = []
        self._wire: Wire | None = None

    async def run(self, *, is_ahead: bool = False) -> Wire:
        """Dial, log in, and ask the server for what we must know of it.

        Args:
            is_ahead: Nobody waits for it; see `Upkeep.welcome`.

        Raises:
            DatabaseUnavailable: It did not come to that within server_connect_timeout.
            PlaceUnprotected: Tenants are not kept apart there.
        """
        place, limits, loop = self._place, self._limits, asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(limits.server_connect_timeout):
                conn = await dial(
                    place.conninfo, place.login, place.password, place.database,
                    within_s=limits.server_connect_timeout, begun=self._begun.append,
                )  # fmt: skip
                self._check(conn)
                prepared = limits.max_prepared_statements if place.prepares else 0
                self._wire = wire = Wire(conn, max_prepared=prepared)
                await self._upkeep.welcome(wire, is_ahead=is_ahead)
        except TimeoutError as exc:
            # Beyond a pooler that has let us in, it may be one database alone that does not answer.
            is_stalled = self._wire is None or not place.via_pgbouncer
            raise DatabaseUnavailable(
                place.cluster, "no answer in time", is_of_server=is_stalled, is_silent=True
            ) from exc
        except ConnectionLost as exc:  # it had let us in
            raise DatabaseUnavailable(place.cluster, exc.reason) from exc
        except (psycopg.Error, OSError) as exc:
            told = str(exc)
            raise DatabaseUnavailable(
                place.cluster, first_line(told), is_of_server=is_of_server(told)
            ) from exc
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # whatever it is, who waits must hear of it, and the next dial keep apart
            raise DatabaseUnavailable(place.cluster, f"{type(exc).__name__}: {exc}") from exc
        wire.opened_at = loop.time()
        wire.dial_s = wire.opened_at - began
        wire.expires_at = wire.opened_at + limits.server_lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - jitter
        return wire

    def _check(self, conn: PGconn) -> None:
        """Make sure that what answers is what is meant: what a standby shows may be of any age."""
        is_standby = conn.parameter_status(b"in_hot_standby") == b"on"  # a pooler may not say
        if is_standby and self._place.replica is None:
            raise DatabaseUnavailable(
                self._place.cluster, "the server is a standby, which takes no writes", is_of_server=True
            )
        if not is_standby and self._place.replica is not None:
            raise DatabaseUnavailable(self._place.cluster, "the server is no standby", is_of_server=True)

    def undo(self) -> Coroutine[None, None, None]:
        """End whatever there is of it, at each host that was tried."""
        return hang_up(*self._begun) if self._wire is None else self._wire.close()
