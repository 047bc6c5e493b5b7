"""A Postgres server of our own: made, started and stopped with the program that needs it."""

import shutil
import socket
import tempfile
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tiergate.deadline import finish
from tiergate.embedded.binaries import Binaries, find_binaries
from tiergate.embedded.errors import ClusterBroken, NoAccess, PortTaken
from tiergate.embedded.home import Home, let_go, open_home
from tiergate.embedded.server import Server, run, stop_stray

HOST = "127.0.0.1"
SUPERUSER = "postgres"
_PORT_TRIES = 8
_INIT_S = 120.0
_START_S = 60.0  # a server that was killed first recovers
_STOP_S = 15.0
_DEFAULTS = {"wal_level": "logical", "shared_buffers": "32MB"}


class Cluster:
    """One server on a folder of its own, reached over loopback and a unix socket.

    Every role needs its password (SCRAM), on the socket too. Made by `open_cluster`.

    Attributes:
        host: Always the loopback address.
        port: 0 until it was started; a restart has the same one if it is still free.
        socket_dir: Holds the unix socket; only the server's user may enter. Known once started.
        superuser, password: The role that initdb made.
    """

    host = HOST
    superuser = SUPERUSER

    def __init__(self, home: Home, binaries: Binaries, settings: Mapping[str, str]) -> None:
        self._home = home
        self._binaries = binaries.readable_by(home.account)
        self._settings = {**_DEFAULTS, **settings}
        self._server: Server | None = None
        self.password = ""
        self.port = 0
        self.socket_dir: Path | None = None

    @property
    def folder(self) -> Path:
        """Where data, log and password really are; not always the folder that was asked for."""
        return self._home.folder

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._home.log

    @property
    def version(self) -> str:
        """The server's version: "18.6"."""
        return self._binaries.version

    @property
    def address(self) -> str:
        """Host, port and TLS as libpq keywords, without a user, password or database."""
        return make_conninfo(host=self.host, port=self.port, sslmode="disable")

    def conninfo(
        self, database: str = "postgres", *, user: str | None = None, password: str | None = None
    ) -> str:
        """A connection as libpq keywords; the superuser's unless *user* is given."""
        return make_conninfo(
            self.address,
            dbname=database,
            user=user or self.superuser,
            password=self.password if user is None else password,
        )

    def url(self, database: str = "postgres", *, scheme: str = "postgresql") -> str:
        """The superuser's connection as a URL, for asyncpg and SQLAlchemy."""
        return f"{scheme}://{self.superuser}:{self.password}@{self.host}:{self.port}/{database}"

    def is_running(self) -> bool:
        """Whether the server is there."""
        return self._server is not None and self._server.is_running()

    async def init(self) -> None:
        """Make the data folder unless there is one; a half-made one is made anew.

        Raises:
            ClusterBroken: The data are of another major version, or their password is gone.
            ClusterFailed: initdb failed.
        """
        if self._home.data.exists():
            self._check_data()
            self.password = self._home.password()
            return
        self.password = self._home.password()
        making = self._home.folder / "data.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        self._home.account.give(making)
        with tempfile.NamedTemporaryFile("w", dir=self._home.folder, encoding="ascii") as secret:
            secret.write(self.password)
            secret.flush()
            self._home.account.give(Path(secret.name))
            argv = [self._binaries.program("initdb"), "-D", str(making), "-U", self.superuser]
            argv += ["--pwfile", secret.name, "--auth=scram-sha-256", "--locale=C.UTF-8", "--encoding=UTF8"]
            if self._settings.get("fsync") == "off":
                argv.append("--no-sync")
            await run(argv, self._home, within_s=_INIT_S)
        making.rename(self._home.data)

    async def start(self, port: int | None = None) -> None:
        """Start the server, on *port* or on one that is free.

        Raises:
            PortTaken: *port* is in use.
            ClusterFailed: It does not start; the error has the log's last lines.
        """
        await stop_stray(self._home, within_s=_STOP_S)
        self.socket_dir = self._home.socket_folder()
        chosen = [port] if port is not None else _ports(self._home.last_port())
        for attempt, candidate in enumerate(chosen, 1):
            try:
                self._server = await Server.start(
                    self._binaries.program("postgres"),
                    self._home,
                    port=candidate,
                    settings={**self._settings, **self._where(candidate)},
                    within_s=_START_S,
                )
            except PortTaken:
                if attempt == len(chosen):
                    raise
            else:
                self.port = candidate
                self._home.keep_port(candidate)
                return

    async def stop(self) -> None:
        """Stop the server and wait until it is gone; harmless when it is not running."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(within_s=_STOP_S)

    async def restart(self) -> None:
        """Stop, and start on the same port."""
        await self.stop()
        await self.start(self.port)

    def kill(self) -> None:
        """End the server at once, as a crash would; for tests of what happens then."""
        if self._server is not None:
            self._server.stop_now()

    def _where(self, port: int) -> dict[str, str]:
        return {
            "listen_addresses": self.host,
            "port": str(port),
            "unix_socket_directories": str(self.socket_dir),
        }

    def _check_data(self) -> None:
        made_by = (self._home.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if made_by != str(self._binaries.major):
            reason = f"its data are of Postgres {made_by}, the programs of {self._binaries.version}"
            raise ClusterBroken(self._home.folder, reason)
        if not (self._home.folder / "password").exists():
            raise ClusterBroken(self._home.folder, "the file with the superuser's password is gone")


@asynccontextmanager
async def open_cluster(
    folder: Path,
    *,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
    binaries: Binaries | None = None,
) -> AsyncIterator[Cluster]:
    """A running server whose data stay in *folder*; made if need be, stopped at the end.

    Opened again, it finds its data and, if it is free, its port. A server that an earlier
    process left behind is stopped first. Folders are independent: open several at once.

    Args:
        folder: Of this cluster alone. Root's servers may have to live elsewhere: see `Cluster.folder`.
        port: None takes the last one, else any that is free.
        settings: Of postgresql.conf; they win over ours.
        binaries: None takes what `find_binaries` finds.

    Raises:
        NoBinaries, NoAccount: There is nothing to start, or nobody to run it.
        NoAccess, UnsafeFolder: The folder is somebody else's.
        ClusterInUse: Another process has it open.
        ClusterBroken, PortTaken, ClusterFailed: It cannot be started.
    """
    home, lock = _enter(folder)
    try:
        cluster = Cluster(home, binaries or find_binaries(), settings or {})
        await cluster.init()
        await cluster.start(port)
        try:
            yield cluster
        finally:
            await finish(cluster.stop(), within_s=_STOP_S + 10)
    finally:
        let_go(lock)


@asynccontextmanager
async def open_clusters(
    folder: Path,
    ports: Mapping[str, int | None],
    *,
    settings: Mapping[str, str] | None = None,
    binaries: Binaries | None = None,
) -> AsyncIterator[dict[str, Cluster]]:
    """Several clusters, started side by side: for each name in *ports* one in `folder/NAME`.

    Raises:
        TiergateError: As `open_cluster`; the first one that fails takes the others down.
    """
    async with AsyncExitStack() as stack:
        try:
            async with TaskGroup() as tasks:
                opening = {
                    name: tasks.create_task(
                        stack.enter_async_context(
                            open_cluster(folder / name, port=port, settings=settings, binaries=binaries)
                        ),
                        name=f"open cluster {name}",
                    )
                    for name, port in ports.items()
                }
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        yield {name: task.result() for name, task in opening.items()}


async def erase_cluster(folder: Path) -> None:
    """Remove the cluster that `open_cluster(folder)` made, wherever its data are, if there is one.

    Raises:
        ClusterInUse: Somebody has it open.
        NoAccess: It is another user's.
        ClusterBroken: A server that was left behind does not stop.
    """
    if not folder.parent.exists():
        return
    home, lock = _enter(folder)
    try:
        await stop_stray(home, within_s=_STOP_S)
        shutil.rmtree(home.folder)
    finally:
        let_go(lock)
    shutil.rmtree(folder, ignore_errors=True)


def _enter(folder: Path) -> tuple[Home, int]:
    """The cluster's folder, locked for us."""
    try:
        home = open_home(folder)
        return home, home.lock()
    except PermissionError as exc:
        raise NoAccess(folder, f"{exc.strerror} ({exc.filename})") from exc


def _ports(last: int | None) -> list[int]:
    """Ports to try, in order: the last one, then some that are free at this moment."""
    free: list[int] = []
    sockets = [socket.socket() for _ in range(_PORT_TRIES)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
            free.append(each.getsockname()[1])
    finally:
        for each in sockets:
            each.close()
    return free if last is None else [last, *free]
