"""What this process is called among the processes of all gateways."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from config.settings import Settings
from registry.orders import Process
from tiergate import __version__
from tiergate.limits import forget_after_s


def this_process(settings: Settings) -> Process:
    """This process, by a name that no other has and that it never has again."""
    return Process(
        id=secrets.token_hex(6),
        gateway=f"{socket.gethostname()}:{settings.gateway.port}",
        machine=_machine(),
        pid=os.getpid(),
        version=__version__,
        forget_after_s=forget_after_s(settings),
    )


def _machine() -> str:
    """One start of one machine and one namespace of process ids; empty where Linux does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return ""
