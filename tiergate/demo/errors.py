"""What may keep a demo from starting, beside what its parts may meet."""

from pathlib import Path

from tiergate.errors import TiergateError


class DemoRunning(TiergateError):
    """A demo runs in this folder already."""

    code = "demo-running"
    advice = "Use the one that runs, end it, or give this one a folder of its own with --dir."

    def __init__(self, folder: Path) -> None:
        super().__init__(f"a demo runs in {folder} already")
        self.folder = folder
