"""The `/sql` door: SQL over HTTP, as Neon's serverless driver speaks it.

A plain ASGI callable, since it is the one hot route. Reads like the request's six
hops: the deadline, who asks, where the tenant lives, admission, a connection, the
answer. Knows nothing of cursors, keys or errors: each has a module of its own.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from guard.verdict import Guard, parts
from observe.trails import Tracer
from pools.errors import DeadlineExceeded, ResponseTooLarge
from pools.lease import RequestLimits, Stream, Transaction
from pools.loan import Lease
from pools.result import Result
from pools.switchboard import Switchboard
from registry.directory import Directory
from registry.placement import Placement
from router.admission import Admission, admit
from router.answer import answer, answer_batch
from router.asgi import (
    Attention,
    Headers,
    HungUp,
    Receive,
    Scope,
    Send,
    cut_off,
    dismiss,
    read_body,
    respond,
)
from router.body import read_in_turn
from router.choices import transaction, wants_arrays, wants_lines
from router.cors import of_answers
from router.course import Course, begin, new_id
from router.errors import ReaderTooSlow
from router.identify import Identifier
from router.lines import Lines
from router.problems import problem
from router.refusals import told_of
from router.relocation import DOUBTS, MOST, Relocation
from router.replicas import MAX_STALENESS, Replicas
from router.turns import Turns
from tiergate.deadline import Deadline
from tiergate.events import Emit
from tiergate.tenant import TenantId, Tier

_JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one request may take.

    Attributes:
        stream_stall_s: Time in which the caller of a streamed answer must take each piece of it.
        stream_timeout_s: Time for a streamed answer in all; what comes before it has request_timeout_s.
        statement_timeout_s: By tier, for each statement at the server.
        schemas: Names under which statements may write the application's schema.
        full_sql: Tiers whose tenants may run all of SQL.
    """

    request_timeout_s: float
    body_timeout_s: float
    max_request_bytes: int
    max_response_bytes: int
    stream_stall_s: float
    stream_timeout_s: float
    statement_timeout_s: dict[Tier, float]
    schemas: frozenset[str]
    full_sql: frozenset[Tier]


class SqlDoor:
    """Answers `POST /sql`."""

    def __init__(
        self, identifier: Identifier, directory: Directory, admission: Admission, guard: Guard,
        switchboard: Switchboard, limits: DoorLimits,
        *, replicas: Replicas, cors_origin: str | None, emit: Emit,
    ) -> None:  # fmt: skip
        """*cors_origin* is the origin that browsers may call from, "*" for any, None for none."""
        self.tracer: Tracer | None = None
        self.limits = limits
        self.guard = guard
        self._identifier = identifier
        self._directory = directory
        self._admission = admission
        self._switchboard = switchboard
        self._replicas = replicas
        self._relocation = Relocation(directory, emit)
        self._cors = of_answers(cors_origin)
        self._emit = emit
        self._turns = Turns()

    def trust(self, identifier: Identifier) -> None:
        """Ask *identifier* from now on."""
        self._identifier = identifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every outcome is an answer, but for a caller that hung up."""
        headers = Headers(scope)
        course = begin(scope, headers, self.tracer)
        deadline = Deadline(course.began + self.limits.request_timeout_s)
        try:
            with self._admission, Attention(receive) as attention:
                if wants_lines(scope, headers):
                    course.lines = Lines(send, lambda: course.headers(self._cors), self.limits.stream_stall_s)
                body = await self._serve(headers, scope, receive, attention, course, deadline)
        except HungUp:
            self._tell(course, "client-gone", 499)
            return
        except asyncio.CancelledError:  # the end of a drain; whether the request took effect is unknown
            await self._refuse(DeadlineExceeded("database"), headers, course, scope, receive, send)
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets an answer and we a log line
            await self._refuse(exc, headers, course, scope, receive, send)
            return
        if course.lines is None:
            course.bytes_out = len(body)
            await respond(send, 200, [_JSON, *course.headers(self._cors)], body)
        self._tell(course, "ok", 200)

    async def run_as(self, tenant: TenantId, body: bytes) -> tuple[int, bytes]:
        """Run the body of a request as *tenant*, on an operator's word; its hops 3 to 6.

        Returns:
            The honest status, and the body: rows as arrays, values as text.
        """
        course = Course(time.monotonic(), new_id())
        deadline = Deadline(course.began + self.limits.request_timeout_s)
        try:
            request = await read_in_turn(body)
            placement = await self._directory.locate(tenant, deadline)
            admit(placement)
            results = await self._run(placement, Transaction(request.statements), course, deadline)
        except Exception as exc:  # noqa: BLE001 - as above
            refusal = problem(exc, neon=False)
            return refusal.honest_status, refusal.body
        if request.batch:
            return 200, answer_batch(results, raw=True, arrays=[True] * len(results))
        return 200, answer(results[0], raw=True, arrays=True)

    async def _serve(
        self,
        headers: Headers,
        scope: Scope,
        receive: Receive,
        attention: Attention,
        course: Course,
        deadline: Deadline,
    ) -> bytes:
        raw = headers.get(b"neon-raw-text-output") == b"true"
        arrays = wants_arrays(headers)
        course.enter("identify")
        caller = self._identifier.identify_now(scope["headers"])
        if caller is None:
            with self._admission.stranger():
                caller = await self._identifier.identify(scope["headers"], deadline)
        course.caller = caller
        course.enter("locate")
        placement = self._directory.locate_now(caller.tenant)
        if placement is None:
            with self._admission.stranger():
                placement = await self._directory.locate(caller.tenant, deadline)
        course.placement = placement
        course.auth_s = time.monotonic() - course.began
        course.enter("admit")
        admit(placement)
        self._admission.rates.take(placement, course.began)
        with self._admission.share(placement.tenant, placement.place.cluster):
            if headers.get(MAX_STALENESS) is None:  # a replica may serve where the cluster cannot
                self._switchboard.admit(placement)
            if not self._turns.take_now(placement.tenant):
                await self._turns.take(placement.tenant)
            attention.await_body(self.limits.body_timeout_s)
            body = await read_body(headers, receive, max_bytes=self.limits.max_request_bytes)
            attention.await_answer()
            course.bytes_in = len(body)
            request = await read_in_turn(body)
            wanted = transaction(request, headers, caller, course)
            modes = [arrays if mode is None else mode for mode in request.array_modes]
            if course.lines is not None:
                course.lines.expect(modes, raw=raw)
            results = await self._run(placement, wanted, course, deadline)
            if course.lines is not None:
                await course.lines.finish()
                return b""
        if not self._turns.take_now(placement.tenant):
            await self._turns.take(placement.tenant)
        began = course.enter("encode")
        if request.batch:
            answered = answer_batch(results, raw=raw, arrays=modes)
        else:
            answered = answer(results[0], raw=raw, arrays=modes[0])
        course.encode_s = time.monotonic() - began
        if len(answered) > self.limits.max_response_bytes:
            raise ResponseTooLarge(self.limits.max_response_bytes)
        course.rows = sum([len(result.rows) for result in results])
        return answered

    async def _run(
        self, placement: Placement, transaction: Transaction, course: Course, deadline: Deadline
    ) -> list[Result]:
        """Run where the tenant is thought to live; when it is not served there, where it does."""
        if not transaction.statements:
            return []
        if course.read is not None:
            at_replica = partial(self._run_at, transaction=transaction, course=course, deadline=deadline)
            results = await self._replicas.read(placement, transaction, course, at_replica)
            if results is not None:
                return results
        for _ in range(MOST):
            try:
                return await self._run_at(placement, transaction, course, deadline)
            except DOUBTS as doubt:
                course.enter("locate")
                placement = await self._relocation.after(doubt, placement, deadline)
                course.placement = placement
                admit(placement)
        return await self._run_at(placement, transaction, course, deadline)

    async def _run_at(
        self, placement: Placement, transaction: Transaction, course: Course, deadline: Deadline
    ) -> list[Result]:
        # Nobody calls when an operator asks, for the catalogs too: there the database alone is the wall.
        if course.caller is not None and placement.tier not in self.limits.full_sql:
            course.enter("guard")
            await self._judge([each.text for each in transaction.statements], placement.tier, deadline)
        limits = RequestLimits(
            self.limits.statement_timeout_s[placement.tier],
            self.limits.max_response_bytes,
            self.limits.schemas,
            placement.tier in self.limits.full_sql,
        )
        course.enter("queue")
        lease = Lease(self._switchboard, placement, deadline, stays=False)
        try:
            async with lease:
                if course.read is not None and course.read.reading is not None:
                    course.read.reading.check()
                began = time.monotonic()
                transaction = course.sent(lease, transaction)
                try:
                    if course.lines is None:
                        return course.came(await lease.run(transaction, limits))
                    ends = Deadline(course.began + self.limits.stream_timeout_s)
                    await lease.stream(transaction, limits, Stream(course.lines, ends))
                    return []
                finally:
                    course.database_s += time.monotonic() - began
        finally:
            course.queue_s += lease.queue_s
            course.connect_s += lease.connect_s
            course.round_trips += lease.round_trips

    async def _judge(self, texts: list[str], tier: Tier, deadline: Deadline) -> None:
        """Let statements pass that keep to the tier's lists; what takes long is judged off the event loop.

        Part by part: threads are few and everybody's, and one who sends much stands in line again.
        """
        if self.guard.judge_now(texts, tier):
            return
        for part in parts(texts):
            if not deadline.left_s():
                raise DeadlineExceeded("queue")
            await asyncio.to_thread(self.guard.judge_all, part, tier)

    async def _refuse(
        self, error: Exception, headers: Headers, course: Course, scope: Scope, receive: Receive, send: Send
    ) -> None:
        refusal = problem(error, neon=headers.get(b"neon-connection-string") is not None)
        if course.placement is not None:
            is_free = course.placement.tier in self.limits.full_sql
            for event in told_of(error, course.placement, is_free=is_free):
                self._emit(event)
        if course.lines is not None and course.lines.has_begun:
            is_taken = False
            try:
                is_taken = not isinstance(error, ReaderTooSlow) and await course.lines.fail(refusal)
            finally:
                self._tell(course, refusal.outcome, refusal.honest_status, error)
            if not is_taken:
                await cut_off(scope, receive)
            return
        course.bytes_out = len(refusal.body)
        self._tell(course, refusal.outcome, refusal.honest_status, error)
        framed = [*refusal.headers, *course.headers(self._cors)]
        if headers.is_read:
            await respond(send, refusal.status, framed, refusal.body)
        else:
            await dismiss(receive, send, refusal.status, framed, refusal.body)

    def _tell(self, course: Course, outcome: str, status: int, error: Exception | None = None) -> None:
        self._emit(course.ended(outcome, status, error))
