"""The log of one process, as the settings say."""

from collections.abc import Iterator
from contextlib import contextmanager

from config.settings import Logging
from observe.lines import LineWriter
from observe.logs import Log


@contextmanager
def open_log(said: Logging) -> Iterator[Log]:
    """Meanwhile there is a log, and what libraries say goes there, too."""
    with LineWriter() as lines:
        log = Log(lines, level=said.level, requests=said.requests, slow_s=said.slow_s)
        with log.bridge():
            yield log
