"""Mixed chaos under load, and what it leaves behind: `make bench-chaos`, ARGS='--minutes 60' for an hour.

Two clusters and a registry, all on loopback, are killed, stalled, cut off, corrupted and slowed down at
random, while their tenants ask, are suspended and resumed, and the settings are reloaded. At the end, and
after Ctrl-C, everything is left in peace, and what the gateway holds is compared with what it held before:
memory, descriptors, connections, permits, requests in hand.
Ends with status 1 when an answer was wrong or something leaks.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.serving import cpu_s
from tests.support.crashing import kill_9, stalled
from tests.support.fields import SICK, WELL, Field, open_field
from tests.support.gateways import TENANTS
from tests.support.load import Load, codes, longest_s
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

CALLERS = 12
EVERY_S = 0.03
WARM_UP_S = 5.0
TENANTS_MORE = 6
SETTINGS = {
    "gateway.request_timeout_s": 5,
    "gateway.body_timeout_s": 5,
    "registry.ttl_s": 5,
    "registry.negative_ttl_s": 1,
    "pools.server_connect_timeout": 2,
    "pools.server_lifetime": 20,
    "pools.server_idle_timeout": 10,
    **{f"pools.tiers.{tier}.statement_timeout_s": 4 for tier in ("standard", "premium", "government")},
    **{f"pools.tiers.{tier}.query_wait_timeout": 1 for tier in ("standard", "premium", "government")},
}
MOST_MEMORY = 1.25, 16.0  # times what it was, and MiB more, that count as no leak
MOST_DESCRIPTORS = 8  # more than before that count as none: callers' connections differ
Act = Callable[[Field], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Held:
    """What the gateway holds at rest."""

    memory_mib: float
    descriptors: int
    connections: int
    permits: float
    left_over: dict[str, float]


async def held(field: Field) -> Held:
    """Look, once nobody asks any more."""
    with suppress(AssertionError):
        await field.comes_to_rest()
    process = Path(f"/proc/{field.gateway.process.pid}")
    pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    return Held(
        memory_mib=round(pages * 4096 / 2**20, 1),
        descriptors=len(list((process / "fd").iterdir())),
        connections=await field.connections(SICK) + await field.connections(WELL),
        permits=await field.gateway.metric("tiergate_pool_budget", kind="used"),
        left_over=await field.left_over(),
    )


def between(least_s: float, most_s: float) -> float:
    """Some time."""
    return random.uniform(least_s, most_s)


async def kill_cluster(field: Field) -> None:
    """Kill -9, and a start."""
    kill_9(field.sick)
    await asyncio.sleep(between(0, 2))
    await field.sick.start(field.sick.port)


async def restart_cluster(field: Field) -> None:
    """A fast shutdown, and a start."""
    await field.sick.restart()


async def stall_cluster(field: Field) -> None:
    """Nobody answers, for less or for more than a request's time."""
    with stalled(field.sick):
        await asyncio.sleep(between(0.2, 7))


async def kill_registry(field: Field) -> None:
    """The registry away for some seconds."""
    kill_9(field.registry)
    await asyncio.sleep(between(0, 6))
    await field.registry.start(field.registry.port)


async def stall_registry(field: Field) -> None:
    """The registry stalled for some seconds."""
    with stalled(field.registry):
        await asyncio.sleep(between(0.2, 5))


async def cut(field: Field) -> None:
    """Every connection reset, some times in a row."""
    for _ in range(random.randint(1, 8)):
        field.proxy.cut()
        await asyncio.sleep(between(0, 0.3))


async def half_close(field: Field) -> None:
    """Every connection half-closed."""
    field.proxy.half_close()


async def blackhole(field: Field) -> None:
    """Nothing goes through."""
    field.proxy.blackhole()
    await asyncio.sleep(between(0.2, 6))
    field.proxy.flow()


async def corrupt(field: Field) -> None:
    """What a server says means nothing, some times."""
    for _ in range(random.randint(1, 5)):
        field.proxy.corrupt(answers=random.choice((True, True, True, False)))
        await asyncio.sleep(between(0, 0.2))
    field.proxy.calm()


async def slow_down(field: Field) -> None:
    """A slow network."""
    field.proxy.delay_s, field.proxy.bytes_per_s = between(0, 0.1), between(20_000, 200_000)
    await asyncio.sleep(between(1, 3))
    field.proxy.delay_s = field.proxy.bytes_per_s = 0.0


async def reload(field: Field) -> None:
    """Other limits, by a signal."""
    limits = {f"pools.tiers.{tier}.default_pool_size": random.randint(1, 10) for tier in (SICK, WELL)}
    field.gateway.reconfigure({**limits, "pools.max_db_connections": random.randint(10, 40)})
    field.gateway.signal(signal.SIGHUP)


async def suspend(field: Field) -> None:
    """A tenant suspended and resumed."""
    path = f"/tenants/{TENANTS[random.choice((SICK, WELL))]}"
    await field.gateway.ask_admin("POST", f"{path}/suspend")
    await asyncio.sleep(between(0, 1))

    async def is_resumed() -> bool:
        return (await field.gateway.ask_admin("POST", f"{path}/resume")).is_success

    await wait_until(is_resumed, within_s=60, what="the tenant to be resumed")


async def pause_gateway(field: Field) -> None:
    """The gateway itself stands still for a moment."""
    field.gateway.signal(signal.SIGSTOP)
    await asyncio.sleep(between(0.1, 1))
    field.gateway.signal(signal.SIGCONT)


ACTS: tuple[Act, ...] = (
    kill_cluster, restart_cluster, stall_cluster, kill_registry, stall_registry, cut, half_close, blackhole,
    corrupt, slow_down, reload, suspend, pause_gateway,
)  # fmt: skip


async def add_tenants(field: Field) -> list[TenantId]:
    """More tenants of the cluster that will fail."""
    made = [TenantId(f"more{number}") for number in range(TENANTS_MORE)]
    for name in made:
        await field.site.operations.create_tenant(
            name, SICK, region=None, cluster=SICK, actor="chaos", deadline=Deadline.after(60)
        )
        field.site.keys[name] = await field.site.create_key(name)
        await field.greet(name)
    return made


@dataclass(slots=True)
class Toll:
    """What callers met; counted as it comes, so that an hour of it takes no room."""

    codes: Counter[str]
    longest_s: float = 0.0

    def take(self, *loads: Load) -> None:
        """Count what has ended, and forget it."""
        for load in loads:
            self.codes.update(codes(load.asked))
            self.longest_s = max(self.longest_s, longest_s(load.asked))
            load.asked.clear()


def is_well(load: Load) -> bool:
    """Whether it has lately had good answers only."""
    return set(codes(load.asked[-CALLERS:])) == {"ok"}


async def rage(field: Field, more: list[TenantId], seconds: float, acts: Counter[str]) -> Toll:
    """Load and one act after the other, until *seconds* are over or we are interrupted."""
    toll, ends_s, tells_s = Toll(Counter()), time.monotonic() + seconds, 0.0
    async with (
        field.load(SICK, callers=CALLERS, every_s=EVERY_S, more=more) as theirs,
        field.load(WELL, callers=CALLERS, every_s=EVERY_S) as others,
    ):
        with suppress(asyncio.CancelledError):
            while (now := time.monotonic()) < ends_s:
                act = random.choice(ACTS)
                # An act begun is brought to its end, so that everything runs again after it.
                doing = asyncio.create_task(act(field), name=act.__name__)
                try:
                    await asyncio.shield(doing)
                finally:
                    await doing
                acts[act.__name__] += 1
                await asyncio.sleep(between(0, 1.5))
                toll.take(theirs, others)
                if now > tells_s:
                    tells_s = now + 10
                    left_s = max(0, ends_s - now)
                    print(f"{left_s:5.0f} s left; {dict(toll.codes)}", file=sys.stderr, flush=True)
        field.proxy.flow()
        field.gateway.reconfigure({})
        field.gateway.signal(signal.SIGHUP)
        for load in (theirs, others):
            load.asked.clear()
            await wait_until(partial(is_well, load), what="all to be well")
        toll.take(theirs, others)
    return toll


async def run(options: argparse.Namespace) -> int:
    """Look, rage, look again, report; the status to end with."""
    random.seed(options.seed)
    acts: Counter[str] = Counter()
    async with open_field(SETTINGS) as field:
        more = await add_tenants(field)
        async with (
            field.load(SICK, callers=CALLERS, every_s=0, more=more),
            field.load(WELL, callers=CALLERS, every_s=0),
        ):
            await asyncio.sleep(WARM_UP_S)
        before = await held(field)
        toll = await rage(field, more, options.minutes * 60, acts)
        await asyncio.sleep(1)
        after = await held(field)
        loops = await field.gateway.metric("tiergate_loop_failures_total")
        failed = [f"{line['loop']}: {line['error']}" for line in field.gateway.said("loop-failed")]
        spent_s = cpu_s(field.gateway.process.pid)
    facts = {
        "seed": options.seed, "acts": dict(acts), "requests": toll.codes.total(), "codes": dict(toll.codes),
        "longest_s": round(toll.longest_s, 2), "loop_failures": loops, "loops_failed": failed,
        "cpu_s": spent_s, "before": asdict(before), "after": asdict(after),
    }  # fmt: skip
    print(json.dumps(facts, indent=2))
    times, plus = MOST_MEMORY
    leaks = (
        after.left_over
        or after.descriptors > before.descriptors + MOST_DESCRIPTORS
        or after.memory_mib > before.memory_mib * times + plus
    )
    return 1 if leaks or toll.codes["wrong"] or loops else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (2)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the order of acts")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
