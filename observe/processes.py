"""Metrics of several gateway processes in one answer, by files that they share.

Must be asked before anything imports `prometheus_client`, which decides once,
at import, whether its values live in memory or in files.
"""

import os
import sys
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(directory: Path) -> None:
    """Keep this process's metrics, and those of processes started from here on, in *directory*.

    Files that an earlier run left there are removed: call it once, in the parent.

    Raises:
        RuntimeError: `prometheus_client` is imported already; too late.
    """
    if "prometheus_client" in sys.modules:
        msg = "share_metrics() comes too late: prometheus_client is imported already"
        raise RuntimeError(msg)
    directory.mkdir(parents=True, exist_ok=True)
    for kind in ("db", "sketches", "tenants", "wanted"):
        for left in directory.glob(f"*.{kind}"):
            left.unlink(missing_ok=True)
    os.environ[VARIABLE] = str(directory)


def is_shared() -> bool:
    """Whether metrics are those of several processes."""
    return VARIABLE in os.environ


def shared_folder() -> Path | None:
    """Where processes leave for each other what they count; None when there is only one."""
    return Path(os.environ[VARIABLE]) if is_shared() else None


def forget_process(pid: int) -> None:
    """Stop counting the gauges of the process *pid*, which has ended; what it counted stays."""
    if is_shared():
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see the module's docstring

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
