"""A process that serves nobody and only carries moves: `tiergate moves work`."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from config.settings import Settings
from fleet.application import read_application
from fleet.provision import Provisioner
from moves.mover import Mover
from moves.worker import Worker
from observe.lines import LineWriter
from observe.logs import Log
from observe.metrics import Metrics
from registry.migrations import migrate
from registry.store import open_store
from registry.vault import Vault
from tiergate.background import running
from tiergate.events import Event
from tiergate.limits import full_sql
from tiergate.listening import Server, url
from tiergate.signals import signals

_NEWS_S = 1.0
"""It hears no notifications: so often it looks what has been asked of its moves."""
_LAST_WORDS_S = 1.0


async def work(settings: Settings, metrics_at: socket.socket | None = None) -> None:
    """Carry moves until told to stop; what is in hand then, others take up.

    Args:
        metrics_at: Listens; Prometheus finds `/metrics` there.

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
        metrics = Metrics(outcomes=())

        def emit(event: Event) -> None:
            metrics(event)
            log(event)

        vault = Vault(settings.secrets.master_key)
        await migrate(settings.registry.url, vault, timeout_s=60)
        store = await stack.enter_async_context(open_store(settings.registry, vault, emit=emit))
        await store.clusters()  # a wrong master key shows here
        provisioner = Provisioner(read_application(settings.application.sql), full_sql(settings))
        name = f"{socket.gethostname()} {os.getpid()}"
        worker = Worker(store, Mover(store, provisioner, emit=emit), name, emit=emit)

        async def news() -> None:
            while True:
                await asyncio.sleep(_NEWS_S)
                worker.wake()
                metrics.refresh()
                log.flush()

        stack.enter_context(signals(stop, lambda: None, log))
        if metrics_at is not None:
            await stack.enter_async_context(_shown(metrics, metrics_at, settings.gateway.body_timeout_s))
        stack.enter_context(metrics.process.listening())
        async with running({"moves": worker.run(), "news": news(), "loop delay": metrics.process.run()}):
            shown = None if metrics_at is None else f"{url(metrics_at)}/metrics"
            log.say("info", "working", worker=name, metrics=shown)
            await stop.wait()


@asynccontextmanager
async def _shown(metrics: Metrics, at: socket.socket, patience_s: float) -> AsyncIterator[None]:
    """Meanwhile whoever asks *at* that socket is shown what the process has counted, and that it lives."""

    async def show(_request: Request) -> Response:
        body, content_type = await metrics.show()
        return Response(body, headers={"content-type": content_type, "cache-control": "no-store"})

    async def live(_request: Request) -> Response:
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/metrics", show), Route("/livez", live)])
    server = Server(app, lambda: patience_s)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([at]), name="metrics address")
        try:
            yield
        finally:
            server.end(within_s=_LAST_WORDS_S)
