"""Large results streamed by one process: memory, pace, a reader that stops. `make bench-stream`, a minute.

Memory is the process's resident set, sampled while the answer is read, less what it was before. Each
streamed answer must be whole. For comparison the same rows as one JSON answer, as many as fit, and
through an asyncpg cursor without any gateway. Ends with status 1 when an answer was wrong or the
reader that stopped was not cut off.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table

from bench.gateway import RunningDemo, open_demo
from bench.load import request
from bench.report import describe_machine
from bench.serving import HOST

TENANT = "acme"
LINES = "application/x-ndjson"
NARROW = "SELECT n, 'member ' || n AS name, repeat('x', 80) AS body FROM generate_series(1, {}) AS n"
WIDE = "SELECT n, repeat('x', 1000000) AS body FROM generate_series(1, {}) AS n"
FIT = 60_000  # rows that fit into one JSON answer
STOPS_AFTER = 1_000_000
PATIENCE_S = 60.0
SAMPLE_S = 0.02
LAST_LINE = b'{"committed":true}\n\r\n0\r\n\r\n'
_PACKAGES = ("uvicorn", "uvloop", "httptools", "asyncpg", "psycopg")


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, read as fast as it came."""

    name: str
    rows: int
    mib: float
    took_s: float
    above_idle_mib: float | None
    is_whole: bool


def resident_mib(pid: int) -> float:
    """What the process has in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def ask(demo: RunningDemo, body: object, *headers: tuple[str, str]) -> socket.socket:
    """A connection on which *body* was asked for."""
    known = {"Authorization": f"Bearer {demo.keys[TENANT]}", **dict(headers)}
    caller = socket.create_connection((HOST, demo.port), timeout=PATIENCE_S)
    caller.sendall(request("POST", "/sql", f"{HOST}:{demo.port}", known, json.dumps(body).encode()))
    return caller


def read(caller: socket.socket, is_end: Callable[[int, bytes], bool]) -> tuple[int, bytes]:
    """Read until *is_end* of what was read and its last 64 bytes; how much it was, and those."""
    size, end = 0, b""
    with suppress(OSError):
        while not is_end(size, end) and (piece := caller.recv(1 << 20)):
            size += len(piece)
            end = (end + piece)[-64:]
    return size, end


async def measure(demo: RunningDemo, name: str, rows: int, body: object, *, streamed: bool = True) -> Reading:
    """Read one answer of the gateway, and look at its memory meanwhile."""
    idle_mib = peak_mib = resident_mib(demo.pid)
    began = time.monotonic()
    headers = [("Accept", LINES)] if streamed else [("Connection", "close")]
    last = LAST_LINE if streamed else b'"rowAsArray":false}'
    with await asyncio.to_thread(ask, demo, body, *headers) as caller:
        reading = asyncio.create_task(
            asyncio.to_thread(read, caller, lambda _, end: end.endswith(last)), name="read"
        )
        while not reading.done():
            await asyncio.wait({reading}, timeout=SAMPLE_S)
            peak_mib = max(peak_mib, resident_mib(demo.pid))
        size, end = await reading
    took_s = time.monotonic() - began
    return Reading(name, rows, size / 2**20, took_s, peak_mib - idle_mib, end.endswith(last))


async def by_cursor(demo: RunningDemo, rows: int) -> Reading:
    """The same rows through asyncpg's cursor, in this process, nothing done with them."""
    at = {key: str(value) for key, value in conninfo_to_dict(demo.superuser).items()}
    connection = await asyncpg.connect(
        host=at["host"], port=int(at["port"]), user=at["user"], password=at["password"],
        database=at["dbname"], ssl=False,
    )  # fmt: skip
    try:
        began, seen, size = time.monotonic(), 0, 0
        async with connection.transaction():
            async for row in connection.cursor(NARROW.format(rows), prefetch=512):
                seen += 1
                size += len(row["name"]) + len(row["body"])
        return Reading(
            "asyncpg cursor, no gateway", rows, size / 2**20, time.monotonic() - began, None, seen == rows
        )
    finally:
        await connection.close()


def stop_reading(demo: RunningDemo) -> float:
    """Seconds after which a caller that stops reading is cut off; PATIENCE_S if it is not."""
    with ask(demo, {"query": WIDE.format(10_000)}, ("Accept", LINES)) as caller:
        read(caller, lambda size, _: size >= STOPS_AFTER)
        began = time.monotonic()
        while (took_s := time.monotonic() - began) < PATIENCE_S:
            if caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                break
            time.sleep(SAMPLE_S)
        return took_s


async def run(options: argparse.Namespace) -> int:
    """Measure and report; the status to end with."""
    async with open_demo() as demo:
        narrow = {"query": NARROW.format(options.rows)}
        batch = {"queries": [{"query": NARROW.format(options.rows // 1000)}] * 1000}
        await measure(demo, "warm", 1000, {"query": NARROW.format(1000)})
        readings = [
            await measure(demo, "streamed", options.rows, narrow),
            await measure(demo, "streamed, again", options.rows, narrow),
            await measure(demo, "streamed, a batch of 1,000", options.rows, batch),
            await measure(demo, "streamed, rows of 1 MB", 300, {"query": WIDE.format(300)}),
            await measure(demo, "one JSON answer", FIT, {"query": NARROW.format(FIT)}, streamed=False),
            await by_cursor(demo, options.rows),
        ]
        cut_off_s = await asyncio.to_thread(stop_reading, demo)
        with psycopg.connect(demo.superuser) as connection:
            postgres = connection.info.parameter_status("server_version") or "unknown"
    machine = describe_machine(postgres, _PACKAGES)
    if options.json:
        told = {
            "machine": asdict(machine),
            "readings": [asdict(each) for each in readings],
            "cut_off_s": cut_off_s,
        }
        print(json.dumps(told, indent=2))
    else:
        show(readings)
        print(f"A caller that stopped reading was cut off after {cut_off_s:.1f} s.")
        print(machine.line)
    return 0 if all(each.is_whole for each in readings) and cut_off_s < PATIENCE_S else 1


def show(readings: list[Reading]) -> None:
    """Print a table."""
    table = Table()
    for column in ("", "rows", "MiB", "s", "rows/s", "MiB/s", "MiB above idle", "whole"):
        table.add_column(column, justify="left" if not column else "right")
    for each in readings:
        table.add_row(
            each.name, f"{each.rows:,}", f"{each.mib:.0f}", f"{each.took_s:.2f}",
            f"{each.rows / each.took_s:,.0f}", f"{each.mib / each.took_s:.0f}",
            "" if each.above_idle_mib is None else f"{each.above_idle_mib:.1f}",
            "yes" if each.is_whole else "NO",
        )  # fmt: skip
    Console(width=120).print(table)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stream", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large results (1000000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
