"""What can go wrong on the way from the command line to the gateway."""

from collections.abc import Sequence

from tiergate.errors import TiergateError


class AdminUnreachable(TiergateError):
    """Nothing that speaks tiergate's admin API answers at the address."""

    code = "admin-unreachable"
    retryable = True
    advice = "Start the gateway (`tiergate serve`, `make demo`), or correct --admin or TIERGATE_ADMIN_URL."

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the gateway's admin port at {url} does not answer: {why}")
        self.url = url
        self.why = why


class AdminUnknown(TiergateError):
    """It is not known which gateway is meant, or with which key to ask it."""

    code = "admin-unknown"

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what} is not known")
        self.advice = advice  # type: ignore[misc]  # which of two things is missing decides what to do


class AdminRefused(TiergateError):
    """The gateway answered, and said no; the words are its own.

    Attributes:
        status: HTTP status.
        said: The code of its error.
    """

    code = "admin-refused"

    def __init__(
        self, status: int, code: str, message: str, *, advice: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.said = code
        self.advice = advice  # type: ignore[misc]  # the gateway's own words
        self.retryable = retryable  # type: ignore[misc]


class StatementFailed(TiergateError):
    """A statement sent through `tiergate psql` failed.

    Attributes:
        report: What Postgres or the gateway said, several lines.
    """

    code = "statement-failed"

    def __init__(self, tenant: str, report: str, body: dict[str, object]) -> None:
        super().__init__(f"as {tenant}: {report}")
        self.body = body


class BadInput(TiergateError):
    """An argument, a file or a variable does not hold what it should."""

    code = "bad-input"

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice  # type: ignore[misc]  # each argument has its own


class AuditBroken(TiergateError):
    """The audit is not as it was written."""

    code = "audit-broken"
    advice = "docs/how-to/audit.md says what each kind of damage means, and what can still be believed."

    def __init__(self, why: str, intact: str) -> None:
        super().__init__(f"the audit was altered: {why}; intact before that: {intact}")


class OrderUnfinished(TiergateError):
    """Not every process of every gateway has done what it was told, or has said so."""

    code = "order-unfinished"
    retryable = True
    advice = (
        "The order is given, and goes on. Ask again to wait on; a silent process carries it out once it"
        " reaches the registry, and is forgotten when it can serve nobody any more."
    )

    def __init__(self, verb: str, whom: str, left: Sequence[str], *, is_over: bool) -> None:
        why = "it has ended meanwhile, or was replaced by another one" if is_over else "; ".join(left)
        super().__init__(f"{verb} {whom}: not done everywhere: {why}")


class MoveUndone(TiergateError):
    """A move was aborted."""

    code = "move-undone"
    advice = "The tenant is where it was. Mend what the message names, then ask for the move again."

    def __init__(self, move: str, tenant: str, why: str) -> None:
        super().__init__(f"move {move} of tenant {tenant} was aborted: {why}")


class EvidenceFalse(TiergateError):
    """A move's record is not as it was signed."""

    code = "evidence-false"
    advice = "Believe nothing in it. The audit's line `move.evidence` holds the SHA-256 of what was signed."

    def __init__(self, move: str) -> None:
        super().__init__(f"the record of move {move} was changed, or was not signed by this registry")


class PlacesFailed(TiergateError):
    """A question across tenants has no answer, or half an answer, from some places."""

    code = "places-failed"
    retryable = True
    advice = (
        "Correct what is said of those places, then ask again; with --write, look first at what was changed."
    )

    def __init__(self, outcome: str, report: str) -> None:
        super().__init__(f"not every place has answered in full ({outcome}){report}")


class Unready(TiergateError):
    """Something that the configuration names cannot be reached.

    Attributes:
        names: What, by name.
    """

    code = "unready"
    retryable = True
    advice = "Start what does not answer, or correct its address; then run `tiergate check` again."

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"not reachable: {', '.join(names)}")
        self.names = tuple(names)
