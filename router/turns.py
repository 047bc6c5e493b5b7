"""Whose request is worked on next, when more than one waits for this process.

A process works on one thing at a time, whatever the connections to the databases: for what a hundred requests
of one tenant cost in reading statements and writing answers, a single one of another would wait. So a request
asks for a turn before either. In one pass of the event loop one turn is given to those who stand in line, and
the tenants' lines are served one request each: a round. Who has nobody in line, and has had no turn in this
round, need not stand in line: its turn would come in this round anyway.

Source:
    Hoeiland-Joergensen et al., RFC 8290, "The Flow Queue CoDel Packet Scheduler": sparse flows go first.
"""

import asyncio
from collections import OrderedDict, deque

from tiergate.tenant import TenantId


class Turns:
    """Pieces of work in one process, shared out among tenants. Nobody holds a turn, so none can be lost."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_busy = False
        self._lines: OrderedDict[TenantId, deque[asyncio.Future[None]]] = OrderedDict()
        self._served: set[TenantId] = set()  # in this round

    def take_now(self, tenant: TenantId) -> bool:
        """Whether *tenant*'s turn is had at once; never waits."""
        if not self._is_busy:
            self._is_busy = True
            self._served = {tenant}
            self._loop.call_soon(self._next_pass)
            return True
        if tenant in self._served or tenant in self._lines:
            return False
        self._served.add(tenant)
        return True

    async def take(self, tenant: TenantId) -> None:
        """Wait for *tenant*'s turn, once `take_now` has said no."""
        turn = self._loop.create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        await turn

    def _next_pass(self) -> None:
        """In another pass of the event loop: a turn to whoever is next, if anybody waits."""
        while self._lines:
            tenant, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[tenant] = line
            if turn.done():  # its request has ended meanwhile
                continue
            if tenant in self._served:
                self._served.clear()  # another round begins
            self._served.add(tenant)
            turn.set_result(None)
            self._loop.call_soon(self._next_pass)
            return
        self._is_busy = False
