"""Runs the command `tiergate` many times without paying 0.5 s of imports for each.

One process imports everything and forks for each command, so that each still has an
environment, a folder, standard streams and an exit code of its own.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FORKS = """
import json, os, sys
import httpx, rich.console, rich.table, rich.text
import tiergate.cli.app, tiergate.cli.checking, tiergate.cli.statements
from tiergate.cli import main

def child(order):
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    for number, name, mode in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        os.dup2(os.open(os.path.join(order["streams"], name), mode), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
    try:
        main(order["words"])
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    return 0

for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child(order)
        finally:
            sys.stdout.flush(); sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # Any: JSON
        """Standard output, as JSON."""
        return json.loads(self.out)


@dataclass(slots=True)
class Commands:
    """Runs commands, one at a time."""

    _process: asyncio.subprocess.Process
    _streams: Path
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, words: tuple[str, ...], env: Mapping[str, str], cwd: Path, give: str = "") -> Ran:
        """Run `tiergate` with *words*, with *give* on standard input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            for name, text in (("in", give), ("out", ""), ("err", "")):
                (self._streams / name).write_text(text, encoding="utf-8")
            order = {"words": words, "env": dict(env), "cwd": str(cwd), "streams": str(self._streams)}
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            code = int(await self._process.stdout.readline())
            out, err = ((self._streams / name).read_text(encoding="utf-8") for name in ("out", "err"))
            return Ran(code, out, err)


@asynccontextmanager
async def open_commands(root: Path) -> AsyncIterator[Commands]:
    """A process that runs commands from the source tree at *root*."""
    env = {**os.environ, "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory(prefix="tiergate-test-") as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _FORKS,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            yield Commands(process, Path(folder))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


def clean_env(**more: str) -> dict[str, str]:
    """The environment, without what would lead to another gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")}
    return {**kept, "COLUMNS": "200", **more}
