"""One `postgres` process: started, watched, stopped.

Invariants:
- It is in a session of its own, so Ctrl-C in our terminal reaches us and not it.
- It never outlives us for long, however we end: a watcher holds the reading end of a pipe
  whose writing end only we hold, and stops the server when that closes.
- Only a process that proves to be the server of this data folder is ever signalled.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tiergate.embedded.errors import ClusterBroken, ClusterFailed, PortTaken
from tiergate.embedded.home import Home, keep_from_children, let_go

_LOOK_S = 0.01  # Postgres tells that it is ready through a file; a look costs 20 µs
_TAIL_BYTES = 4000
# Reads until our end of the pipe closes. The pid is compared again at that moment, because a
# server that was started after ours must not be stopped on our behalf.
_WATCH = 'read -r _; read -r pid < "$2/postmaster.pid" && [ "$pid" = "$1" ] && kill -INT "$1"'


def child_environment() -> dict[str, str]:
    """What initdb and the server see of our environment: nothing that could lead them astray."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def run(argv: list[str], home: Home, *, within_s: float) -> None:
    """Run a program of Postgres to its end, as the server's user.

    Raises:
        ClusterFailed: It failed or took too long.
    """
    log = home.open_log()
    try:
        began = os.fstat(log).st_size
        process = _start(argv, home, log)
    finally:
        os.close(log)
    name = Path(argv[0]).name
    try:
        status = await _wait_exit(process, within_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status is None:
        raise ClusterFailed(name, f"took more than {within_s:.0f} s", tail(home.log, began))
    if status != 0:
        raise ClusterFailed(name, f"ended with status {status}", tail(home.log, began))


class Server:
    """A running server and the watcher beside it."""

    def __init__(self, home: Home, process: subprocess.Popen[bytes], log_began: int) -> None:
        self._home = home
        self._process = process
        self._log_began = log_began
        try:
            self._watcher, self._lifeline = _watch(home, process.pid)
        except BaseException:
            process.kill()  # unwatched it could outlive us
            process.wait()
            raise

    @classmethod
    async def start(
        cls, postgres: str, home: Home, *, port: int, settings: Mapping[str, str], within_s: float
    ) -> "Server":
        """Start the server on *home*'s data and wait until it accepts connections.

        Raises:
            PortTaken: Something else listens on *port*.
            ClusterFailed: It ended, or was not ready in time.
        """
        argv = [postgres, "-D", str(home.data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        log = home.open_log()
        try:
            began = os.fstat(log).st_size
            server = cls(home, _start(argv, home, log), began)
        finally:
            os.close(log)
        try:
            await server._wait_ready(port, within_s)
        except BaseException:
            server.stop_now()
            raise
        return server

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process.poll() is None

    async def stop(self, *, within_s: float) -> None:
        """Fast shutdown: sessions end, buffers are written. What is too slow is stopped at once."""
        if self.is_running():
            self._process.send_signal(signal.SIGINT)
            if await _wait_exit(self._process, within_s) is None:
                self.stop_now()
        self._end_watcher()

    def stop_now(self) -> None:
        """Immediate shutdown, waiting for it; what was committed is safe."""
        if self.is_running():
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(timeout=6)  # the postmaster itself kills stragglers after 5 s
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._end_watcher()

    async def _wait_ready(self, port: int, within_s: float) -> None:
        ends_s = time.monotonic() + within_s
        while not _says_ready(self._home.data, self.pid):
            if not self.is_running():
                said = tail(self._home.log, self._log_began)
                if "Address already in use" in said:
                    raise PortTaken(port)
                raise ClusterFailed("the server", f"ended with status {self._process.returncode}", said)
            if time.monotonic() > ends_s:
                said = tail(self._home.log, self._log_began)
                raise ClusterFailed("the server", f"was not ready within {within_s:.0f} s", said)
            await asyncio.sleep(_LOOK_S)

    def _end_watcher(self) -> None:
        let_go(self._lifeline)
        self._watcher.wait()


async def stop_stray(home: Home, *, within_s: float) -> None:
    """Stop a server of *home* that an earlier process of ours left behind, and clear what a crash left.

    To be called with the lock held, so that the server is nobody's any more.

    Raises:
        ClusterBroken: It does not stop.
    """
    found = _postmaster(home.data)
    if found is None:
        return
    ends_s = time.monotonic() + within_s
    due_s = {signal.SIGINT: 0.0, signal.SIGQUIT: ends_s - within_s / 3}
    while _is_server_of(found, home):
        now_s = time.monotonic()
        if now_s > ends_s:
            raise ClusterBroken(home.folder, f"an earlier server (pid {found}) does not stop")
        for number in [number for number, at_s in due_s.items() if now_s >= at_s]:
            del due_s[number]
            _signal(found, number)
        await asyncio.sleep(_LOOK_S)
    # Its number may by now be another program's, which Postgres would take for a server.
    (home.data / "postmaster.pid").unlink(missing_ok=True)


def tail(log: Path, began: int) -> str:
    """The last lines of *log*, none from before byte *began*."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(began if began <= size else 0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def _start(argv: list[str], home: Home, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own paths and settings, no shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=home.folder,
        env=child_environment(),
        umask=0o077,
        start_new_session=True,
        **home.account.drop(),
    )


def _watch(home: Home, pid: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start the watcher of the server *pid*; closing the returned descriptor ends both."""
    reading, writing = os.pipe()
    keep_from_children(writing)
    try:
        watcher = subprocess.Popen(  # noqa: S603 - fixed text; the paths are arguments
            ["/bin/sh", "-c", _WATCH, "tiergate-watch", str(pid), str(home.data)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **home.account.drop(),
        )
    finally:
        os.close(reading)
    return watcher, writing


async def _wait_exit(process: subprocess.Popen[bytes], within_s: float) -> int | None:
    """The exit status of *process*, or None when it goes on after *within_s*."""
    ends_s = time.monotonic() + within_s
    while process.poll() is None:
        if time.monotonic() > ends_s:
            return None
        await asyncio.sleep(_LOOK_S)
    return process.returncode


def _lock_lines(data: Path) -> list[str]:
    """The lines of postmaster.pid; none when there is no such file.

    Source:
        PostgreSQL 18, src/include/utils/pidfile.h (pid in line 1, data folder in 2, status in 8).
    """
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _says_ready(data: Path, pid: int) -> bool:
    lines = _lock_lines(data)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004


def _postmaster(data: Path) -> int | None:
    lines = _lock_lines(data)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _is_server_of(pid: int, home: Home) -> bool:
    """Whether *pid* is alive and works in the data folder, as a postmaster does.

    Asked as the server's user, because root in a container may not look at others' processes.
    Where there is no /proc, a live process whose number stands in the file is believed.
    """
    if Path("/proc/self/cwd").exists():
        return home.account.can(f"/proc/{pid}/cwd", "-ef", str(home.data))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
