"""The folder that a demo lives in, and the small files there.

- lock: held while a demo runs here
- demo.json: what runs; there only while it is ready
- keys.json: a key of each tenant
- master.key, admin.key, registry.url: secrets that tiergate.yaml names
- tiergate.yaml: the configuration, as an operator would write it
- clusters/: one folder for each Postgres
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiergate.demo.errors import DemoRunning
from tiergate.embedded import NoAccess

# The user that root hands its servers to must get through to clusters/; the secrets are closed to it.
_MODE, _MODE_OF_ROOT = 0o700, 0o711


@contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Make *folder* if need be, and have it for this process alone; the kernel ends that however we end.

    Raises:
        DemoRunning: Another demo has it.
        NoAccess: It is somebody else's, or no folder.
    """
    try:
        folder.mkdir(mode=_MODE if os.geteuid() else _MODE_OF_ROOT, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise NoAccess(folder, exc.strerror or str(exc)) from exc
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DemoRunning(folder) from exc
        yield
    finally:
        os.close(lock)


def write(path: Path, text: str) -> None:
    """Replace *path* in one step; readable by its owner only, since secrets are in it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    new.replace(path)


def kept(path: Path, make: str) -> str:
    """What *path* holds; *make* when it is not there yet."""
    if not path.exists():
        write(path, make)
    return path.read_text(encoding="utf-8")
