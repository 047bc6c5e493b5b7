"""One gateway process: the only owner of lifetimes.

Opens everything from the registry up to the two addresses, keeps it going, and
closes it in the reverse order. Nothing else starts a server or ends one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from admin.app import Gateway as AdminGateway
from admin.app import build_admin
from admin.operations import Operations
from config.changes import Changes, changes, merged
from config.settings import Settings
from fleet.application import read_application
from fleet.lag import open_lags
from fleet.provision import Provisioner
from moves.mover import Mover
from moves.worker import Worker
from observe.logs import Log
from observe.loudness import Loudness
from observe.metrics import Metrics
from pools.holdings import in_hand
from pools.orders import Orders, leave
from pools.switchboard import Switchboard, open_switchboard
from registry.admin_keys import AdminKeys, Both, open_admin_keys
from registry.cache import Limits
from registry.credentials import Keys, open_keys
from registry.directory import Directory, open_directory
from registry.feed import Feed
from registry.migrations import migrate
from registry.store import Store, open_store
from registry.vault import Vault
from registry.warmth import Warmth
from router.admission import Admission
from router.app import build_app
from router.replicas import Replicas
from router.sql import SqlDoor
from router.stamp import Stamp
from tiergate.accounting import Accounts, open_accounts
from tiergate.background import running
from tiergate.counting import Counts
from tiergate.deadline import Deadline
from tiergate.events import Emit, Event
from tiergate.guarding import guard_of
from tiergate.identifying import identifier
from tiergate.limits import door_limits, forget_after_s, full_sql, pool_limits, rates, retire_after_s
from tiergate.listening import Addresses, Server, url
from tiergate.logs import open_log
from tiergate.memory import settle
from tiergate.process import this_process
from tiergate.signals import reload_others, signals
from tiergate.tracing import Tracing, open_tracing
from verify.run import Verification

_REFRESH_S = 1.0
_LAST_WORDS_S = 1  # for callers who are slow to take their answers, once the time for draining is over
_CLOSE_S = 5.0  # for the pools to close their connections, which nobody uses any more


@dataclass(slots=True)
class Gateway:
    """Everything one process holds while it serves.

    Attributes:
        settings: What it runs with now; `reload` replaces them.
        reread: Loads the settings anew, for `reload`.
        stop: Set to drain and end.
    """

    settings: Settings
    store: Store
    directory: Directory
    keys: Keys
    admin_keys: AdminKeys
    feed: Feed
    warmth: Warmth
    switchboard: Switchboard
    orders: Orders
    worker: Worker
    accounts: Accounts
    admission: Admission
    door: SqlDoor
    operations: Operations
    verification: Verification
    metrics: Metrics
    log: Log
    emit: Emit
    loudness: Loudness
    tracing: Tracing
    reread: Callable[[], Settings]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def reload(self) -> Changes:
        """Apply what can change while running; say what cannot.

        Raises:
            SettingsInvalid: The new settings are refused; the old ones stay.
        """
        wanted = self.reread()
        guard, found = guard_of(wanted), changes(self.settings, wanted)
        self.settings = now = merged(self.settings, wanted)
        self.switchboard.resize(pool_limits(now))
        self.directory.cache.limits = self.keys.cache.limits = Limits.of(now.registry)
        self.door.limits, self.door.guard = door_limits(now), guard
        self.door.tracer = self.tracing.follow(now)
        self.operations.let_run(full_sql(now))
        self.operations.retire_after_s = self.orders.hold_after_s = retire_after_s(now)
        self.operations.moving.budget = pool_limits(now).max_db_connections
        self.orders.process = replace(self.orders.process, forget_after_s=forget_after_s(now))
        self.door.trust(identifier(now, self.keys))
        self.accounts.apply(now.usage)
        self.admission.max_inflight, self.admission.rates.rates = now.gateway.max_inflight, rates(now)
        self.loudness.configure(now.logging.level)
        self.log.requests, self.log.slow_s = now.logging.requests, now.logging.slow_s
        self.log.say("info", "reloaded", applied=list(found.applied), needs_restart=list(found.needs_restart))
        return found

    def for_admin(self) -> AdminGateway:
        """What the admin port may see and do."""
        return AdminGateway(
            metrics=self.metrics.show, readiness=self.readiness, reload=self._reload_all,
            pools=lambda: self.orders.held(most=self.settings.pools.max_pools),
            run=self.door.run_as, verify=self.verification.run, metrics_of=self.metrics.tenants.show,
        )  # fmt: skip

    def _reload_all(self) -> dict[str, tuple[str, ...]]:
        """Reload, in the other processes of this gateway too."""
        found = self.reload()
        reload_others()
        return {"applied": found.applied, "needs_restart": found.needs_restart}

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether this process can serve some tenants, and what it knows of each cluster."""
        reachable = self.switchboard.reachable()
        ready = not self.admission.is_draining and (not reachable or any(reachable.values()))
        return ready, {
            "ready": ready,
            "draining": self.admission.is_draining,
            "registry": "up" if self.feed.is_listening else "down",
            "clusters": {name: "up" if up else "down" for name, up in sorted(reachable.items())},
        }


@asynccontextmanager
async def open_gateway(settings: Settings, reread: Callable[[], Settings]) -> AsyncIterator[Gateway]:
    """Everything but the addresses.

    Raises:
        RegistryUnavailable: The registry cannot be reached; a gateway does not start without it.
        RegistryTooNew: A later version has migrated it.
        SecretUnreadable: The master key is not the one that the registry was made with.
    """
    async with AsyncExitStack() as stack:
        log = stack.enter_context(open_log(settings.logging))
        folds: list[Callable[[Event], None]] = [log]

        def emit(event: Event) -> None:
            for fold in folds:
                fold(event)

        tracing = stack.enter_context(open_tracing(settings, emit))
        vault = Vault(settings.secrets.master_key)
        await migrate(settings.registry.url, vault, timeout_s=60)
        store = await stack.enter_async_context(open_store(settings.registry, vault, emit=emit))
        await store.clusters()  # a wrong master key shows here, not at the first request
        limits = Limits.of(settings.registry)
        directory = await stack.enter_async_context(open_directory(store, limits, emit=emit))
        keys = await stack.enter_async_context(open_keys(store, limits, emit=emit))
        admin_keys = await stack.enter_async_context(open_admin_keys(store, limits))
        process = this_process(settings)
        stack.push_async_callback(leave, store, process)
        accounts = await stack.enter_async_context(open_accounts(settings.usage, store, process.id, emit))
        switchboard = await stack.enter_async_context(
            open_switchboard(pool_limits(settings), emit, drain_timeout_s=_CLOSE_S)
        )
        orders = Orders(store, process, switchboard, hold_after_s=retire_after_s(settings), emit=emit)
        warmth = Warmth(store, switchboard, emit=emit)
        provisioner = Provisioner(read_application(settings.application.sql), full_sql(settings))
        mover = Mover(store, provisioner, emit=emit)
        worker = Worker(store, mover, f"{process.gateway} {process.pid}", emit=emit)
        feed = Feed(
            settings.registry.url, directory, Both(keys, admin_keys),
            emit=emit, on_order=orders.wake, on_tenant=warmth.wake, on_move=worker.wake,
            timeout_s=settings.registry.timeout_s,
        )  # fmt: skip
        loudness = Loudness(log, orders.tell)
        orders.loud, feed.on_level = loudness.told, loudness.hear
        admission = Admission(settings.gateway.max_inflight, rates(settings))
        metrics = Metrics(
            switchboard.snapshot, inflight=lambda: admission.inflight,
            hits=lambda: {"placement": directory.cache.hits, "credential": keys.cache.hits},
            look=lambda wanted: in_hand(switchboard, wanted),
        )  # fmt: skip
        folds += [metrics, orders.busiest, orders.lately, accounts.meter]
        await store.audit_head()  # remembered from here on, in the log and in the metrics
        operations = Operations(store, provisioner, settings.application.schema)
        operations.retire_after_s = retire_after_s(settings)
        operations.moving.budget = pool_limits(settings).max_db_connections
        lags = await stack.enter_async_context(open_lags(operations.access, emit))
        door = SqlDoor(
            identifier(settings, keys), directory, admission, guard_of(settings), switchboard,
            door_limits(settings), replicas=Replicas(lags, emit),
            cors_origin=settings.gateway.cors_origin, emit=emit,
        )  # fmt: skip
        door.tracer = tracing.tracer
        verification = Verification(
            store, operations, switchboard, schema=settings.application.schema,
            full_sql=lambda: provisioner.full_sql, guard=lambda: door.guard,
        )  # fmt: skip
        gateway = Gateway(
            settings, store, directory, keys, admin_keys, feed, warmth, switchboard, orders, worker,
            accounts, admission, door, operations, verification, metrics, log, emit, loudness, tracing,
            reread,
        )  # fmt: skip
        await stack.enter_async_context(_background(gateway))
        yield gateway


@asynccontextmanager
async def _background(gateway: Gateway) -> AsyncIterator[None]:
    await gateway.orders.run_once()  # nobody is served before it is known what is paused

    async def refresh() -> None:
        while True:
            gateway.metrics.refresh()
            gateway.tracing.tell_lost()
            gateway.log.flush()
            await asyncio.sleep(_REFRESH_S)

    loops = {
        "registry feed": gateway.feed.run(), "keys in use": gateway.keys.run(),
        "orders": gateway.orders.run(), "warm tenants": gateway.warmth.run(), "moves": gateway.worker.run(),
        "refresh metrics": refresh(), "loop delay": gateway.metrics.process.run(),
        "counts": Counts(gateway.store, emit=gateway.emit).run(),
    }  # fmt: skip
    with gateway.metrics.process.listening():
        async with running(loops):
            yield


async def serve(
    gateway: Gateway, addresses: Addresses, *, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve on both addresses until `gateway.stop` is set, then drain; bounded by drain_timeout_s."""
    settings = gateway.settings

    def patience_s() -> float:
        return gateway.door.limits.body_timeout_s

    front = Server(build_app(gateway.door, cors_origin=settings.gateway.cors_origin), patience_s)
    admin = build_admin(
        gateway.operations, gateway.for_admin(),
        key=settings.admin.key, cross_tenant_key=settings.admin.cross_tenant_key,
        check=gateway.admin_keys.check,
    )  # fmt: skip
    back = Server(Stamp(admin), patience_s)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(front.serve([addresses.gateway]), name="gateway address")
        tasks.create_task(back.serve([addresses.admin]), name="admin address")
        gateway.log.say("info", "serving", gateway=url(addresses.gateway), admin=url(addresses.admin))
        settle()
        on_ready()
        await gateway.stop.wait()
        gateway.log.say("info", "draining", inflight=gateway.admission.inflight)
        deadline = Deadline.after(settings.gateway.drain_timeout_s)
        # The addresses stay open meanwhile: who comes now is told to go elsewhere, not left in silence.
        ended = await gateway.admission.drain(within_s=deadline.left_s())
        gateway.log.say("info" if ended else "warning", "drained", left=gateway.admission.inflight)
        front.end(within_s=max(_LAST_WORDS_S, deadline.left_s()))
        back.end(within_s=_LAST_WORDS_S)


async def run(
    settings: Settings,
    addresses: Addresses,
    reread: Callable[[], Settings],
    *,
    parent: int | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """One process's whole life, from the registry to the drain.

    Args:
        parent: A descriptor that becomes readable when the process that started this one is gone.
    """
    loop = asyncio.get_running_loop()

    def end_too(descriptor: int) -> None:
        loop.remove_reader(descriptor)  # it stays readable
        gateway.stop.set()

    async with open_gateway(settings, reread) as gateway:
        if parent is not None:
            loop.add_reader(parent, end_too, parent)
        with signals(gateway.stop, gateway.reload, gateway.log):
            await serve(gateway, addresses, on_ready=on_ready)
