"""The `/sql` door: SQL over HTTP, as Neon's serverless driver speaks it.

A plain ASGI callable, since it is the one hot route. Reads like the request's six
hops: the deadline, who asks, where the tenant lives, admission, a connection, the
answer. Knows nothing of cursors, keys or errors: each has a module of its own.
"""

import asyncio
import time
from dataclasses import dataclass

from guard.verdict import Guard, parts
from pools.errors import ContextRefused, DeadlineExceeded, ResponseTooLarge, StaleRoute
from pools.lease import Isolation, RequestLimits, Transaction
from pools.loan import Lease
from pools.result import Result
from pools.switchboard import Switchboard
from registry.directory import Directory
from registry.placement import Placement
from router.admission import Admission, admit
from router.answer import answer, answer_batch
from router.asgi import Attention, Headers, HungUp, Receive, Scope, Send, dismiss, read_body, respond
from router.body import Request, read_request
from router.cors import of_answers
from router.course import Course, new_id
from router.errors import BadHeader, ScopeMissing
from router.identify import Caller, Identifier
from router.problems import problem
from tiergate.deadline import Deadline
from tiergate.events import Emit, StaleRouteRefused
from tiergate.tenant import TenantId, Tier

_ISOLATION = {
    b"ReadUncommitted": Isolation.READ_UNCOMMITTED,
    b"ReadCommitted": Isolation.READ_COMMITTED,
    b"RepeatableRead": Isolation.REPEATABLE_READ,
    b"Serializable": Isolation.SERIALIZABLE,
}
_JS_DRIVER = b"40neondatabase%2fserverless"
_JSON = (b"content-type", b"application/json")
_QUICK_BYTES = 64 * 1024
_LEVEL = b"neon-batch-isolation-level"
_FLAGS = (b"neon-batch-read-only", b"neon-batch-deferrable")


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one request may take.

    Attributes:
        statement_timeout_s: By tier, for each statement at the server.
        schemas: Names under which statements may write the application's schema.
        full_sql: Tiers whose tenants may run all of SQL.
    """

    request_timeout_s: float
    body_timeout_s: float
    max_request_bytes: int
    max_response_bytes: int
    statement_timeout_s: dict[Tier, float]
    schemas: frozenset[str]
    full_sql: frozenset[Tier]


class SqlDoor:
    """Answers `POST /sql`."""

    def __init__(
        self, identifier: Identifier, directory: Directory, admission: Admission, guard: Guard,
        switchboard: Switchboard, limits: DoorLimits, *, cors_origin: str | None, emit: Emit,
    ) -> None:  # fmt: skip
        """*cors_origin* is the origin that browsers may call from, "*" for any, None for none."""
        self.limits = limits
        self.guard = guard
        self._identifier = identifier
        self._directory = directory
        self._admission = admission
        self._switchboard = switchboard
        self._cors = of_answers(cors_origin)
        self._emit = emit

    def trust(self, identifier: Identifier) -> None:
        """Ask *identifier* from now on."""
        self._identifier = identifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every outcome is an answer, but for a caller that hung up."""
        headers = Headers(scope)
        course = Course(time.monotonic(), new_id())
        deadline = Deadline(course.began + self.limits.request_timeout_s)
        try:
            with self._admission, Attention(receive) as attention:
                body = await self._serve(headers, scope, receive, attention, course, deadline)
        except HungUp:
            self._tell(course, "client-gone", 499)
            return
        except asyncio.CancelledError:  # the end of a drain; whether the request took effect is unknown
            await self._refuse(DeadlineExceeded("database"), headers, course, receive, send)
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets an answer and we a log line
            await self._refuse(exc, headers, course, receive, send)
            return
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
            request = await _read(body)
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
        arrays = _wants_arrays(headers)
        caller = self._identifier.identify_now(scope["headers"])
        if caller is None:
            with self._admission.stranger():
                caller = await self._identifier.identify(scope["headers"], deadline)
        course.caller = caller
        placement = self._directory.locate_now(caller.tenant)
        if placement is None:
            with self._admission.stranger():
                placement = await self._directory.locate(caller.tenant, deadline)
        course.placement = placement
        course.auth_s = time.monotonic() - course.began
        admit(placement)
        self._admission.rates.take(placement, course.began)
        with self._admission.share(placement.tenant, placement.place.cluster):
            attention.await_body(self.limits.body_timeout_s)
            body = await read_body(headers, receive, max_bytes=self.limits.max_request_bytes)
            attention.await_answer()
            request = await _read(body)
            transaction = self._transaction(request, headers, caller, course)
            results = await self._run(placement, transaction, course, deadline)
        modes = [arrays if mode is None else mode for mode in request.array_modes]
        if request.batch:
            answered = answer_batch(results, raw=raw, arrays=modes)
        else:
            answered = answer(results[0], raw=raw, arrays=modes[0])
        if len(answered) > self.limits.max_response_bytes:
            raise ResponseTooLarge(self.limits.max_response_bytes)
        return answered

    def _transaction(self, request: Request, headers: Headers, caller: Caller, course: Course) -> Transaction:
        if not caller.scopes:
            raise ScopeMissing("read")
        read_only = "write" not in caller.scopes
        name = headers.get(_LEVEL)
        if name is not None and name not in _ISOLATION:
            raise BadHeader(
                "Neon-Batch-Isolation-Level", "is none of " + ", ".join(k.decode() for k in _ISOLATION)
            )
        if not request.batch:
            return Transaction(request.statements, read_only=read_only)
        course.echoes += [(key, b"true") for key in _FLAGS if headers.get(key) == b"true"]
        if name is not None:
            course.echoes.append((_LEVEL, name))
        return Transaction(
            request.statements,
            _ISOLATION[name] if name is not None else None,
            read_only=read_only or headers.get(b"neon-batch-read-only") == b"true",
            deferrable=headers.get(b"neon-batch-deferrable") == b"true",
        )

    async def _run(
        self, placement: Placement, transaction: Transaction, course: Course, deadline: Deadline
    ) -> list[Result]:
        """Run on the known route; when the database refuses that, once more on the fresh one."""
        if not transaction.statements:
            return []
        try:
            return await self._run_at(placement, transaction, course, deadline)
        except StaleRoute as stale:
            self._emit(StaleRouteRefused(stale.tenant, placement.tier, stale.fence_state))
            self._directory.forget(placement.tenant)
            if stale.fence_state == "suspended":
                raise  # the fence has the last word; no need to ask the registry
            fresh = await self._directory.locate(placement.tenant, deadline)
            course.placement = fresh
            admit(fresh)
            if (fresh.place.id, fresh.epoch) == (
                placement.place.id,
                placement.epoch,
            ) and stale.fence_state != "changed":
                raise
        except ContextRefused as refused:
            if refused.doubt != "key":
                raise
            # The key was replaced, or the way to the cluster has changed, and we have not heard of it.
            self._directory.forget(placement.tenant)
            fresh = await self._directory.locate(placement.tenant, deadline)
            course.placement = fresh
            admit(fresh)
            if fresh == placement:
                raise
        return await self._run_at(fresh, transaction, course, deadline)

    async def _run_at(
        self, placement: Placement, transaction: Transaction, course: Course, deadline: Deadline
    ) -> list[Result]:
        # Nobody calls when an operator asks, for the catalogs too: there the database alone is the wall.
        if course.caller is not None and placement.tier not in self.limits.full_sql:
            await self._judge([each.text for each in transaction.statements], placement.tier, deadline)
        limits = RequestLimits(
            self.limits.statement_timeout_s[placement.tier],
            self.limits.max_response_bytes,
            self.limits.schemas,
            placement.tier in self.limits.full_sql,
        )
        lease = Lease(self._switchboard, placement, deadline)
        try:
            async with lease:
                began = time.monotonic()
                try:
                    return await lease.run(transaction, limits)
                finally:
                    course.database_s += time.monotonic() - began
        finally:
            course.queue_s += lease.queue_s
            course.connect_s += lease.connect_s

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
        self, error: Exception, headers: Headers, course: Course, receive: Receive, send: Send
    ) -> None:
        refusal = problem(error, neon=headers.get(b"neon-connection-string") is not None)
        self._tell(course, refusal.outcome, refusal.honest_status, error)
        framed = [*refusal.headers, *course.headers(self._cors)]
        if headers.is_read:
            await respond(send, refusal.status, framed, refusal.body)
        else:
            await dismiss(receive, send, refusal.status, framed, refusal.body)

    def _tell(self, course: Course, outcome: str, status: int, error: Exception | None = None) -> None:
        self._emit(course.event(outcome, status, error))


async def _read(body: bytes) -> Request:
    """`read_request`, off the event loop when it may take more than a millisecond."""
    return read_request(body) if len(body) < _QUICK_BYTES else await asyncio.to_thread(read_request, body)


def _wants_arrays(headers: Headers) -> bool:
    """Rows as arrays unless the caller would expect objects.

    The JavaScript driver expects arrays even when its user's own headers have
    replaced the one that asks for them; it is known by its connection string.
    """
    asked = headers.get(b"neon-array-mode")
    if asked is not None:
        return asked == b"true"
    return _JS_DRIVER in (headers.get(b"neon-connection-string") or b"").lower()
