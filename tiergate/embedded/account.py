"""Who the server runs as, and which folders that user can reach.

Postgres refuses to run as root. Root therefore hands the server to another user
for good; an ordinary user runs it as itself. Nothing here changes the mode of a
folder that we did not make, and no user is ever added.
"""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tiergate.embedded.errors import NoAccount, UnsafeFolder

SHARED = Path("/var/tmp")  # noqa: S108 - kept across restarts; every use goes through `own_folder`
_MEMBERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Drop(TypedDict, total=False):
    """The keywords that make `subprocess.Popen` start a child as another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine, as numbers."""

    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        """Whether children need no other user than ours."""
        return self.uid == os.geteuid()

    def drop(self) -> Drop:
        """Keywords for `subprocess.Popen`; empty when the child runs as we do."""
        return {} if self.is_us else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, *test: str) -> bool:
        """Ask the kernel, as this user, what `test` says: ``can("-x", "/some/folder")``."""
        asked = subprocess.run(  # noqa: S603 - fixed program, no shell text
            ["/bin/sh", "-c", 'test "$@"', "sh", *test],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self.drop(),
        )
        return asked.returncode == 0

    def give(self, path: Path) -> None:
        """Make this user the owner of *path*, which we have just made."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_account(data: Path) -> Account:
    """Choose the user for a server whose data are, or will be, in *data*.

    An ordinary user runs it as itself. Root takes the owner of existing data, so that a
    user `postgres` that appears later changes nothing, then `postgres`, then `nobody`.

    Raises:
        NoAccount: We are root and neither user exists.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        owner = data.stat()
    except FileNotFoundError:
        pass
    else:
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise NoAccount


def own_folder(folder: Path, owner: Account, mode: int) -> Path:
    """Make *folder*, or check that the one that is there is *owner*'s and nobody else's to write.

    For names that others could guess and occupy first.

    Raises:
        UnsafeFolder: It is a link, no folder, somebody else's, or open to writers.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        folder.chmod(mode)
        owner.give(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFolder(folder, "it is not a folder")
    if found.st_uid != owner.uid:
        raise UnsafeFolder(folder, f"it belongs to user {found.st_uid}, not to {owner.uid}")
    if found.st_mode & _MEMBERS_MAY_WRITE:
        raise UnsafeFolder(folder, "others may write to it")
    return folder


def us() -> Account:
    """The user that we are."""
    return Account(os.geteuid(), os.getegid())
