"""Asks the gateway again and again beside whoever looks on, so that keys work while it does not answer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiergate.cli.admin import Admin
from tiergate.cli.errors import AdminRefused, AdminUnreachable
from tiergate.cli.top.sample import Sample, take
from tiergate.cli.top.view import Looking, View


class Asking:
    """What the gateway has told last; made by `open_asking`.

    Attributes:
        view: None before the first answer.
        refusal: The key is not admitted; nothing more is asked.
    """

    def __init__(self, look: Callable[[], Sample], interval_s: float) -> None:
        self.view: View | None = None
        self.refusal: AdminRefused | None = None
        self._look = look
        self._interval_s = interval_s
        self._looking = Looking()
        self._why = ""
        self._since_s = time.monotonic()
        self._is_over = threading.Event()

    def silence(self) -> str:
        """Why there is no answer, and since when; empty while there is one."""
        why = self._why
        if not why:
            return ""
        return f"{why}. Asking again, for {time.monotonic() - self._since_s:.0f} s now."

    def run(self, on_news: Callable[[], None]) -> None:
        """Ask until `end`, or until the key is refused."""
        while not self._is_over.is_set():
            self.run_once()
            on_news()
            if self.refusal is not None:
                return
            self._is_over.wait(self._interval_s)

    def run_once(self) -> None:
        """Ask once."""
        try:
            sample = self._look()
        except AdminUnreachable as error:
            if not self._why:
                self._since_s = time.monotonic()
            self._why = error.why
        except AdminRefused as error:
            self.refusal = error
        else:
            self.view, self._why = self._looking.add(sample), ""

    def end(self) -> None:
        """Ask no more."""
        self._is_over.set()


@contextmanager
def open_asking(api: Admin, interval_s: float, on_news: Callable[[], None]) -> Iterator[Asking]:
    """Ask every *interval_s* seconds; *on_news* is called from another thread."""
    asking = Asking(lambda: take(api), interval_s)
    # A daemon: nobody who leaves should have to wait for an answer that does not come.
    threading.Thread(target=asking.run, args=(on_news,), name="ask the gateway", daemon=True).start()
    try:
        yield asking
    finally:
        asking.end()
