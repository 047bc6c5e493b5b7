"""Reads the small text files that make up a configuration, and says plainly why one cannot be read."""

import os
import stat
from pathlib import Path


class FileUnusable(Exception):
    """A signal within this package: becomes a mistake, with the setting's name, before anyone sees it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_text(path: Path, *, max_bytes: int) -> str:
    """The text of the regular file at *path*, without a byte order mark.

    Raises:
        FileUnusable: It is missing, no regular file, not ours to read, larger than *max_bytes*, or not UTF-8.
    """
    try:
        content = _read_bytes(path, max_bytes)
    except FileNotFoundError:
        raise FileUnusable("a file that does not exist") from None
    except PermissionError:
        raise FileUnusable("a file that may not be read (permission denied)") from None
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "impossible file name"
        raise FileUnusable(f"a file that cannot be read ({reason})") from None
    if len(content) > max_bytes:
        raise FileUnusable(f"a file of more than {max_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise FileUnusable(f"bytes that are not UTF-8 in line {line}") from None


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for its writer. It has no effect on a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileUnusable("something that is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
