"""The registry as a whole: which one it is, and who has it for something that only one may do at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy import func, select

from registry.errors import RegistryUnavailable
from registry.failures import DRIVER_ERRORS, translated
from registry.rows.asking import Asking
from registry.tables import REGISTRY

_ALONE = 1413959002
"""Number of ours among the advisory locks of the registry's database."""


class Whole(Asking):
    """Tells this registry from others."""

    async def fingerprint(self) -> str:
        """The same as long as neither the registry nor the master key is another one; no secret."""
        async with self._reading() as connection:
            return self._vault.fingerprint((await connection.execute(select(REGISTRY.c.id))).scalar_one())

    @asynccontextmanager
    async def alone(self, what: str) -> AsyncIterator[bool]:
        """Whether nobody else of this installation does *what*; nobody else can until the end of the block.

        Takes one of the registry's connections, and closes it: with it goes the lock, whatever happened.

        Raises:
            RegistryUnavailable: No answer in time, or no connection.
        """
        taking = select(func.pg_try_advisory_lock(_ALONE, func.hashtext(what)))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timeout_s):
                    connection = await stack.enter_async_context(self._reader.connect())
                    stack.push_async_callback(connection.invalidate)
                    is_alone = (await connection.execute(taking)).scalar_one()
            except TimeoutError as error:
                raise RegistryUnavailable(f"nothing came within {self._timeout_s:.2f} s") from error
            except DRIVER_ERRORS as error:
                raise translated(error) from error
            yield bool(is_alone)
