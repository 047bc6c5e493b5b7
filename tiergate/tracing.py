"""What the settings say of traces, as a tracer; OpenTelemetry is imported only where spans are wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.settings import Settings
from guard.fingerprint import shape
from observe.trails import Tracer
from tiergate import __version__
from tiergate.errors import TiergateError
from tiergate.events import Emit
from tiergate.happenings.traces import SpansLost


class TracingNotInstalled(TiergateError):
    """`tracing.endpoint` is set, and what sends spans is not there."""

    code = "tracing-not-installed"
    advice = "Install tiergate with its extra 'otel', or set tracing.endpoint to null."

    def __init__(self) -> None:
        super().__init__("OpenTelemetry is not installed")


@dataclass(slots=True)
class Tracing:
    """What of tracing may change while running.

    Attributes:
        tracer: None when nothing is recorded.
    """

    tracer: Tracer | None
    _apply: Callable[[Settings], Tracer | None]
    _take_lost: Callable[[], int]
    _emit: Emit

    def follow(self, settings: Settings) -> Tracer | None:
        """Go on with *settings*; the tracer from now on."""
        self.tracer = self._apply(settings)
        return self.tracer

    def tell_lost(self) -> None:
        """Tell of requests whose spans were lost, if there are any."""
        if lost := self._take_lost():
            self._emit(SpansLost(lost))


@contextmanager
def open_tracing(settings: Settings, emit: Emit) -> Iterator[Tracing]:
    """Meanwhile requests are recorded as *settings* say.

    Raises:
        TracingNotInstalled: They want spans, and the extra is missing.
    """
    if settings.tracing.endpoint is None:
        yield Tracing(_commenter(settings), _commenter, int, emit)
        return
    try:
        from observe.spans import Spans  # noqa: PLC0415 - an optional extra, and 100 ms
    except ImportError as exc:
        raise TracingNotInstalled from exc

    def apply(wanted: Settings) -> Tracer:
        spans.text = wanted.tracing.statement_text
        return Tracer(wanted.tracing.sample_ratio, _has_comments(wanted), spans.put)

    with Spans(settings.tracing.endpoint, __version__, shape) as spans:
        yield Tracing(apply(settings), apply, spans.take_lost, emit)


def _commenter(settings: Settings) -> Tracer | None:
    """Hands on the traces of callers, and makes none."""
    return Tracer(0.0, comments=True) if _has_comments(settings) else None


def _has_comments(settings: Settings) -> bool:
    return settings.tracing.sql_comment == "sampled"
