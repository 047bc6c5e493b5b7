"""A process that serves nobody and only carries moves: `tiergate moves work`."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack

from config.settings import Settings
from fleet.application import read_application
from fleet.provision import Provisioner
from moves.mover import Mover
from moves.worker import Worker
from observe.lines import LineWriter
from observe.logs import Log
from registry.migrations import migrate
from registry.store import open_store
from registry.vault import Vault
from tiergate.background import running
from tiergate.limits import full_sql
from tiergate.signals import signals

_NEWS_S = 1.0
"""It hears no notifications: so often it looks what has been asked of its moves."""


async def work(settings: Settings) -> None:
    """Carry moves until told to stop; what is in hand then, others take up.

    Raises:
        RegistryUnavailable: The registry cannot be reached.
        RegistryTooNew: A later version has migrated it.
        SecretUnreadable: The master key is not the one that the registry was made with.
    """
    said = settings.logging
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(LineWriter())
        log = Log(lines, level=said.level, requests=said.requests, slow_s=said.slow_s)
        stack.enter_context(log.bridge())
        vault = Vault(settings.secrets.master_key)
        await migrate(settings.registry.url, vault, timeout_s=60)
        store = await stack.enter_async_context(open_store(settings.registry, vault, emit=log))
        await store.clusters()  # a wrong master key shows here
        provisioner = Provisioner(read_application(settings.application.sql), full_sql(settings))
        name = f"{socket.gethostname()} {os.getpid()}"
        worker = Worker(store, Mover(store, provisioner, emit=log), name, emit=log)

        async def news() -> None:
            while True:
                await asyncio.sleep(_NEWS_S)
                worker.wake()
                log.flush()

        stack.enter_context(signals(stop, lambda: None, log))
        async with running({"moves": worker.run(), "news": news()}):
            log.say("info", "working", worker=name)
            await stop.wait()
