"""A receiver of OTLP over HTTP: keeps what spans it is sent, in the test's process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.waiting import wait_until


@dataclass(slots=True)
class Received:
    """One span, with its attributes as plain values."""

    span: Span
    attributes: dict[str, str | int]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()


@dataclass(slots=True)
class Receiver:
    """What was received.

    Attributes:
        url: Where to send.
        services: Of each batch, the resource's name.
        answers: Cleared, it takes requests and says nothing until it is set again.
    """

    url: str
    spans: list[Received] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    asked: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)

    def of(self, trace_id: str) -> dict[str, Received]:
        """The spans of a trace by name; of several of one name the last."""
        return {each.name: each for each in list(self.spans) if each.trace_id == trace_id}

    async def hears(self, trace_id: str, *, root: str = "POST /sql") -> dict[str, Received]:
        """The spans of a trace, once its root is among them."""
        await wait_until(lambda: root in self.of(trace_id), what=f"spans of {trace_id}")
        return self.of(trace_id)

    def take(self, body: bytes) -> None:
        found: list[Received] = []  # a request's spans come together, and are seen together
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {
                        each.key: each.value.int_value
                        if each.value.HasField("int_value")
                        else each.value.string_value
                        for each in span.attributes
                    }
                    found.append(Received(span, values))
        self.spans += found


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    """A receiver on a free port of loopback."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.asked.set()
            receiver.answers.wait()
            receiver.take(body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - theirs
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    receiver.answers.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
