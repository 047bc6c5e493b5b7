"""A warm point read by one process, beside the same by hand: `make bench-quick`, about a minute.

Both servers read one member of one tenant by its id, under row-level security, from equal
tables on the same Postgres server; each is one process on uvloop and httptools. Rounds of the
servers alternate, so that a machine that slows down slows them all. The floor is an ASGI
application that does nothing. Ends with status 1 when any answer was wrong.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import psycopg
import uvloop

from bench.gateway import SCHEMA, RunningDemo, open_demo
from bench.load import Call, Sample, Target, call_once, request, run_load
from bench.peers.tables import copy_members
from bench.report import Figures, as_json, describe_machine, print_report, summarise
from bench.serving import HOST, cpu_s, open_uvicorn

TENANT = "acme"
ROWS = 10_000
ASKED = 1_000  # different rows that the load reads, in turn
WARM_UP_S = 2.0
PACKAGES = ("uvicorn", "uvloop", "httptools", "asyncpg", "psycopg", "fastapi", "pydantic", "starlette")
READ = "SELECT id, email, name, joined_at FROM members WHERE id = $1"
FILL = """
    INSERT INTO members (email, name)
    SELECT format('bench-%s@example.com', n), format('Member %s', n) FROM generate_series(1, $1::int) AS n
"""


class WrongAnswer(Exception):
    """A server does not answer what the table holds."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load and the process that answers."""

    target: Target
    pid: int


async def fill(demo: RunningDemo) -> list[dict[str, str]]:
    """Give the tenant its rows, through the gateway; the ones to be read."""
    counted = await demo.run(TENANT, "SELECT count(*)::int AS n FROM members", [])
    await demo.run(TENANT, FILL, [str(max(0, ROWS - counted[0]["n"]))])
    with psycopg.connect(demo.superuser, autocommit=True) as connection:
        connection.execute(f'ANALYZE "{SCHEMA}".members'.encode())
    ask = "SELECT id, email, name FROM members ORDER BY md5(id::text) LIMIT $1::int"
    return await demo.run(TENANT, ask, [str(ASKED)])


def gateway_target(demo: RunningDemo, members: Sequence[dict[str, str]]) -> Target:
    """The gateway, asked for each member."""
    calls = tuple(demo.call(TENANT, READ, [m["id"]], m["email"].encode()) for m in members)
    return Target("tiergate", HOST, demo.port, calls)


def peer_target(port: int, key: str, members: Sequence[dict[str, str]]) -> Target:
    """The service by hand, asked for each member."""
    headers = {"Authorization": f"Bearer {key}"}
    calls = tuple(
        Call(request("GET", f"/members/{m['id']}", f"{HOST}:{port}", headers), m["email"].encode())
        for m in members
    )
    return Target("fastapi + asyncpg", HOST, port, calls)


def empty_target(port: int, like: Target) -> Target:
    """The floor, sent what the gateway is sent."""
    return Target("empty asgi", HOST, port, tuple(Call(call.request, b'"ok"') for call in like.calls))


@asynccontextmanager
async def open_servers() -> AsyncIterator[tuple[list[Server], str]]:
    """The peer, the gateway and the floor, checked; and the version of Postgres."""
    async with AsyncExitStack() as stack:
        demo = await stack.enter_async_context(open_demo())
        members = await fill(demo)
        database = copy_members(demo.superuser, SCHEMA)
        key = demo.keys[TENANT]
        env = {
            "PEER_DSN": database.dsn,
            "PEER_KEYS": json.dumps({hashlib.sha256(key.encode()).hexdigest(): TENANT}),
        }
        peer = await stack.enter_async_context(open_uvicorn("bench.peers.fastapi_asyncpg:app", env=env))
        empty = await stack.enter_async_context(open_uvicorn("bench.peers.empty:app"))
        ours = gateway_target(demo, members)
        theirs = peer_target(peer[0], key, members)
        await check(ours, theirs, members)
        with psycopg.connect(demo.superuser) as connection:
            postgres = connection.info.parameter_status("server_version") or "unknown"
        floor = Server(empty_target(empty[0], ours), empty[1])
        yield [Server(theirs, peer[1]), Server(ours, demo.pid), floor], postgres


async def check(ours: Target, theirs: Target, members: Sequence[dict[str, str]]) -> None:
    """See that both servers answer with the same member, for some of the members.

    Raises:
        WrongAnswer: They do not.
    """
    for member, our_call, their_call in list(zip(members, ours.calls, theirs.calls, strict=True))[:20]:
        our_answer, their_answer = await call_once(ours, our_call), await call_once(theirs, their_call)
        if our_answer.status != HTTPStatus.OK or their_answer.status != HTTPStatus.OK:
            raise WrongAnswer(f"{our_answer} {their_answer}")
        [row] = json.loads(our_answer.body)["rows"]
        other = json.loads(their_answer.body)
        for name in ("id", "email", "name"):
            if not row[name] == other[name] == member[name]:
                raise WrongAnswer(f"{name}: {row[name]!r}, {other[name]!r}, {member[name]!r}")


async def measure(servers: Sequence[Server], rounds: int, seconds: float, connections: int) -> list[Figures]:
    """Warm every server, then take turns."""
    for server in servers:
        await run_load(server.target, connections=connections, seconds=WARM_UP_S)
    samples: dict[str, list[Sample]] = {server.target.name: [] for server in servers}
    used_s = dict.fromkeys(samples, 0.0)
    for _ in range(rounds):
        for server in servers:
            before_s = cpu_s(server.pid)
            samples[server.target.name].append(
                await run_load(server.target, connections=connections, seconds=seconds)
            )
            after_s = cpu_s(server.pid)
            if before_s is not None and after_s is not None:
                used_s[server.target.name] += after_s - before_s
    return [summarise(name, taken, used_s[name] or None) for name, taken in samples.items()]


async def run(options: argparse.Namespace) -> int:
    """Measure, report; the status to end with."""
    async with open_servers() as (servers, postgres):
        figures = await measure(servers, options.rounds, options.seconds, options.connections)
    peer, ours, _ = figures
    machine = describe_machine(postgres, PACKAGES)
    if options.json:
        facts = {
            "load": "point read",
            "connections": options.connections,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "rows": ROWS,
            "ratio": round(ours.rate / peer.rate, 3) if peer.rate else None,
        }
        print(json.dumps(as_json(machine, figures, **facts), indent=2))
    else:
        title = (
            f"Point read of one tenant's row, {ROWS:,} rows, {options.connections} connections, "
            f"{options.rounds} rounds of {options.seconds:g} s each"
        )
        print_report(title, machine, figures, baseline=peer)
    return 1 if any(row.failures or not row.requests for row in figures) else 0


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each server (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (3)")
    parser.add_argument("--connections", type=int, default=16, help="requests outstanding at a time (16)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
