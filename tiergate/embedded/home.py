"""The folder that a cluster lives in, and what we keep there beside its data.

- data/: PGDATA, the server's own
- socket/: the unix socket, where its path is short enough
- server.log: what initdb and the server say
- password: the superuser's, mode 0600
- port: the port of the last start
- lock: held while a process of ours has the cluster open
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tiergate.embedded.account import SHARED, Account, own_folder, server_account, us
from tiergate.embedded.errors import ClusterInUse

_SUN_PATH = 107  # bytes that a unix socket's path may have on Linux, without its closing NUL
_LONGEST_SOCKET = "/.s.PGSQL.65535"
_LOG_LIMIT_BYTES = 8 << 20
_kept_from_children: set[int] = set()
"""Descriptors that a forked child must not hold: it would keep the lock, or the server, alive."""


def keep_from_children(descriptor: int) -> None:
    """Have *descriptor* closed in every process that forks from ours."""
    _kept_from_children.add(descriptor)


def let_go(descriptor: int) -> None:
    """Close *descriptor* here and now; harmless when that was done before."""
    if descriptor in _kept_from_children:
        _kept_from_children.discard(descriptor)
        os.close(descriptor)


def _close_in_child() -> None:
    for descriptor in _kept_from_children:
        os.close(descriptor)
    _kept_from_children.clear()


os.register_at_fork(after_in_child=_close_in_child)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one cluster.

    Attributes:
        folder: Owned by us; the server's user can pass through it.
        account: Who the server runs as.
    """

    folder: Path
    account: Account

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What initdb and the server have said."""
        return self.folder / "server.log"

    def password(self) -> str:
        """The superuser's password; made at the first call."""
        path = self.folder / "password"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            made = secrets.token_urlsafe(24)
            _write(path, made)
            return made

    def last_port(self) -> int | None:
        """The port of the last start, so that a restart can have the same one."""
        try:
            return int((self.folder / "port").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def keep_port(self, port: int) -> None:
        """Remember *port* for the next start."""
        _write(self.folder / "port", str(port))

    def socket_folder(self) -> Path:
        """A folder for the unix socket whose path the kernel accepts; only the server's user may enter."""
        folder = self.folder / "socket"
        if len(os.fsencode(folder)) + len(_LONGEST_SOCKET) > _SUN_PATH:
            folder = Path(tempfile.gettempdir()) / f"tiergate-{_digest(self.folder)}"
        if len(os.fsencode(folder)) + len(_LONGEST_SOCKET) > _SUN_PATH:
            folder = Path("/tmp") / folder.name  # noqa: S108 - checked by own_folder
        return own_folder(folder, self.account, 0o700)

    def lock(self) -> int:
        """Take the cluster for this process; the kernel gives it back however we end.

        Returns:
            The descriptor that holds the lock, for `let_go`.

        Raises:
            ClusterInUse: Another process (or another part of this one) has it.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(descriptor)
            raise ClusterInUse(self.folder) from exc
        keep_from_children(descriptor)
        return descriptor

    def open_log(self) -> int:
        """Open the log for appending; one that has grown too long is begun anew."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.fstat(descriptor).st_size > _LOG_LIMIT_BYTES:
            os.ftruncate(descriptor, 0)
        return descriptor


def open_home(wanted: Path) -> Home:
    """Find or make the folder for the cluster that the caller calls *wanted*.

    It is *wanted* itself, unless we are root and the server's user cannot get there (a home
    with mode 0700). Then it is a folder in /var/tmp whose name follows from *wanted*, so
    that the next start finds the same data.

    Raises:
        NoAccount: There is no user that the server could run as.
        UnsafeFolder: The folder in /var/tmp is occupied by somebody else.
    """
    wanted = wanted.expanduser().absolute()
    elsewhere = SHARED / f"tiergate-cluster-{os.geteuid()}-{_digest(wanted.resolve())}"
    if os.geteuid() == 0 and not (wanted / "data").exists() and (elsewhere / "data").exists():
        return _home_elsewhere(elsewhere)
    if not wanted.exists():
        wanted.mkdir(parents=True)
        wanted.chmod(0o700 if os.geteuid() else 0o711)
    account = server_account(wanted / "data")
    if account.is_us or account.can("-x", str(wanted)):
        return Home(wanted.resolve(), account)
    return _home_elsewhere(elsewhere)


def _home_elsewhere(folder: Path) -> Home:
    own_folder(folder, us(), 0o711)
    return Home(folder, server_account(folder / "data"))


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    """Put *text* in *path* at once, for the eyes of the folder's owner only."""
    descriptor, making = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    if os.geteuid() == 0:  # an ordinary user's cluster stays usable after root had it open
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
    Path(making).rename(path)
