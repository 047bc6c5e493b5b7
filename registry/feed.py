"""Hears of changes that other gateways make, and makes the caches forget.

What is missed while nobody listens cannot be known, so at both ends of an
outage the caches are told to doubt all they hold. A TTL bounds what is missed
without notice. Needs a session of its own: no transaction pooler in between.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from registry.failures import DRIVER_ERRORS
from registry.link import Link, connect
from registry.tables import CHANNEL
from tiergate.events import Emit, LoopFailed, RegistryFound, RegistryLost
from tiergate.tenant import TenantId

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


class Tenants(Protocol):
    """What forgets tenants: the directory."""

    def forget(self, tenant: TenantId) -> None:
        """This one has changed."""

    def doubt(self) -> None:
        """Any may have changed."""


class Credentials(Protocol):
    """What forgets credentials: the keys."""

    def forget(self, shown: str) -> None:
        """This one has changed."""

    def doubt(self) -> None:
        """Any may have changed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One connection's life.

    Attributes:
        was_listening: Whether it came as far as hearing anything.
        notifications: How many it heard.
        ended: Why it ended.
    """

    was_listening: bool
    notifications: int
    ended: str


class Feed:
    """Listens to the registry.

    Attributes:
        on_level: Called when an operator wants the log to say more or less, with the word as it was sent.

    Args:
        on_order: Called when there are new orders, or may be.
        on_tenant: Called when a tenant has changed, or any may have.
        on_move: Called when a move has changed, or any may have.
        timeout_s: For dialling, and for the answer to a heartbeat.
        heartbeat_s: How often the connection is tried; a dead peer is noticed within this and *timeout_s*.
    """

    def __init__(
        self,
        url: str,
        tenants: Tenants,
        credentials: Credentials,
        *,
        emit: Emit,
        on_order: Callable[[], None] = lambda: None,
        on_tenant: Callable[[], None] = lambda: None,
        on_move: Callable[[], None] = lambda: None,
        timeout_s: float = 2.0,
        heartbeat_s: float = 5.0,
    ) -> None:
        self.is_listening = False
        self._url = url
        self._tenants = tenants
        self._credentials = credentials
        self._emit = emit
        self._on_order = on_order
        self._on_tenant = on_tenant
        self._on_move = on_move
        self.on_level: Callable[[Mapping[str, object]], None] = lambda _word: None
        self._timeout_s = timeout_s
        self._heartbeat_s = heartbeat_s
        self._is_lost_told = False
        self._heard = 0

    async def run(self, *, spread: Callable[[], float] = random.random) -> None:
        """Listen for ever; after a loss dial again, ever more patiently."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                was_listening = (await self.run_once()).was_listening
            except Exception as error:  # noqa: BLE001 - a gateway that no longer listens must go on trying
                was_listening = False
                self._lose(str(error))
                self._emit(LoopFailed(loop="registry feed", error=str(error)))
            wait_s = _FIRST_WAIT_S if was_listening else min(_LONGEST_WAIT_S, 2 * wait_s)
            await asyncio.sleep(wait_s * (0.5 + spread()))

    async def run_once(self) -> Heard:
        """Dial, listen until the connection ends, and say why it did."""
        self._heard = 0
        was_listening = False
        link: Link | None = None
        try:
            link = await connect(
                self._url,
                timeout_s=self._timeout_s,
                statement_timeout_s=self._timeout_s,
                name="tiergate-feed",
            )
            hung_up = asyncio.Event()
            link.add_termination_listener(lambda _link: hung_up.set())
            async with asyncio.timeout(self._timeout_s):
                await link.add_listener(CHANNEL, self._hear)
            was_listening = True
            self._find()
            await self._stay(link, hung_up)
            ended = "the server hung up"
        except TimeoutError:
            ended = f"no answer within {self._timeout_s:g} s"
        except DRIVER_ERRORS as error:
            ended = str(error) or type(error).__name__
        finally:
            if link is not None:
                link.terminate()
            self.is_listening = False
        self._lose(ended)
        return Heard(was_listening, self._heard, ended)

    async def _stay(self, link: Link, hung_up: asyncio.Event) -> None:
        while not hung_up.is_set():
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await hung_up.wait()
            except TimeoutError:
                # TCP alone would take minutes to notice a peer that vanished without a word.
                async with asyncio.timeout(self._timeout_s):
                    await link.execute("SELECT 1")

    def _find(self) -> None:
        # Only now, while we listen: what was read before may have missed a change.
        self._doubt()
        self.is_listening = True
        self._is_lost_told = False
        self._emit(RegistryFound())

    def _lose(self, why: str) -> None:
        if self._is_lost_told:
            return
        self._is_lost_told = True
        self._doubt()
        self._emit(RegistryLost(error=why))

    def _doubt(self) -> None:
        self._tenants.doubt()
        self._credentials.doubt()
        self._on_order()
        self._on_tenant()
        self._on_move()

    def _hear(self, _link: object, _pid: int, _channel: str, payload: str) -> None:
        self._heard += 1
        match _read(payload):
            case {"tenant": str(tenant)}:
                self._tenants.forget(TenantId(tenant))
                self._on_tenant()
            case {"credential": str(key_id)}:
                self._credentials.forget(key_id)
            case {"order": _}:
                self._on_order()
            case {"move": _}:
                self._on_move()
            case {"log_level": dict(word)}:
                self.on_level(word)
            case _:  # everything, or something that a later tiergate says
                self._doubt()


def _read(payload: str) -> object:
    try:
        return json.loads(payload)
    except ValueError:
        return None
