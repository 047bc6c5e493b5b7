"""JSON of the admin API: what requests may say, and how answers say it. Secrets only ever come in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from admin.errors import BodyInvalid
from registry.chain import Head, Verified, head
from registry.credentials import KnownCredential, Scope
from registry.records import AuditEntry
from tiergate.tenant import Tier, tenant_id

Json = dict[str, object]
M = TypeVar("M", bound=BaseModel)

MOST_ROWS = 1000
"""Of one page of a list."""

_LONGEST_OVERLAP_S = 366 * 86_400
_LONGEST_ID = 64
_LARGEST_ID = 2**63 - 1
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]", re.ASCII)
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")


def _label(text: str) -> str:
    if tenant_id(text) is None:
        msg = "must be 1 to 63 characters of a-z, 0-9 and inner hyphens"
        raise ValueError(msg)
    return text


def _one_line(text: str) -> str:
    if not _TEXT.fullmatch(text):
        msg = "must be one line without control characters"
        raise ValueError(msg)
    return text


def _head(text: object) -> Head:
    found = head(text) if isinstance(text, str) else None
    if found is None:
        msg = "must be NUMBER:CODE, as the log and `tiergate audit --verify` say it"
        raise ValueError(msg)
    return found


def _written_out(moment: object) -> object:
    if not isinstance(moment, str) or _DATE.match(moment) is None:
        msg = "should be a date and a time, as 2026-03-01T12:00:00Z"
        raise ValueError(msg)
    return moment


def in_calendar(moment: datetime) -> datetime:
    """*moment* in UTC.

    Raises:
        ValueError: It is before the year 1 or after 9999 there.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        msg = "lies outside the years 1 to 9999 in UTC"
        raise ValueError(msg) from None


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(in_calendar)]


def to_come(moment: datetime) -> datetime:
    """*moment*, which must not be over.

    Raises:
        ValueError: It is, or is too far off.
    """
    if moment <= datetime.now(UTC):
        msg = "lies in the past"
        raise ValueError(msg)
    return in_calendar(moment)


@dataclass(frozen=True, slots=True)
class Documented:
    """What the document says of a text, where a validator refuses it in words of its own."""

    pattern: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Pydantic's way to a schema."""
        own = handler(core)
        bounds = {name: bound for name, bound in own.items() if name in {"minLength", "maxLength"}}
        return {"type": "string", **bounds, "pattern": self.pattern}


LABEL = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

Label = Annotated[str, AfterValidator(_label), Documented(LABEL)]
Line = Annotated[str, AfterValidator(_one_line), Documented("^[^\\u0000-\\u001f\\u007f]*$")]


class Shape(BaseModel):
    """What a request may say, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewKey(Shape):
    """`POST /tenants/{name}/keys`."""

    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = list(Scope)
    note: Annotated[Line, Field(max_length=200)] = ""
    expires_at: Annotated[AwareDatetime, AfterValidator(to_come)] | None = None
    replaces: Annotated[Line, Field(min_length=1, max_length=_LONGEST_ID)] | None = None
    overlap_s: Annotated[int, Field(ge=0, le=_LONGEST_OVERLAP_S)] = 86_400


class Nothing(Shape):
    """Of requests that say all in their path."""


class Statement(Shape):
    """`POST /tenants/{name}/sql`; what is in it is the door's to judge."""

    query: str
    params: list[Any] = Field(default_factory=list)  # Any: JSON values of all kinds
    arrayMode: bool = False  # noqa: N815 - the name in the /sql format


class Verify(Shape):
    """`POST /verify`."""

    tenant: Label | None = None
    place: Annotated[Line, Field(min_length=1, max_length=_LONGEST_ID)] | None = None
    cluster: Label | None = None
    tries: bool = True


class AcrossAll(Shape):
    """`POST /read-across-all-tenants`."""

    query: Annotated[str, Field(min_length=1, max_length=65_536, pattern="^[^\\x00]*$")]
    reason: Annotated[Line, Field(min_length=10, max_length=500)]
    i_know_this_reads_every_tenant: Literal[True]
    write: bool = False
    tier: Tier | None = None
    cluster: Label | None = None
    tenants: Annotated[list[Label], Field(max_length=100)] = Field(default_factory=list)
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0


class Page(Shape):
    """The query of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 100
    after: Annotated[Line, Field(max_length=2 * _LONGEST_ID)] = ""
    tier: Annotated[Tier | None, Field(strict=False)] = None
    cluster: Label | None = None


class AuditPage(Shape):
    """The query of `GET /audit`."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, strict=False)] = 100
    after: Annotated[int | None, Field(ge=1, le=_LARGEST_ID, strict=False)] = None
    newer: Annotated[int | None, Field(ge=0, le=_LARGEST_ID, strict=False)] = None
    tenant: Label | None = None
    actor: Annotated[Line, Field(max_length=80)] | None = None
    act: Annotated[Line, Field(max_length=80)] | None = None
    since: Annotated[Moment | None, Field(strict=False)] = None


class Expected(Shape):
    """The query of `GET /audit/verify`."""

    expect: Annotated[
        Head | None,
        BeforeValidator(_head),
        Documented("^[1-9][0-9]{0,17}:[0-9a-f]{64}$"),
    ] = None


def read_body(shape: type[M], body: bytes) -> M:
    """*body* as *shape*.

    Raises:
        BodyInvalid: With every mistake in it.
    """
    try:
        return shape.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise BodyInvalid(_mistakes(error)) from None  # the cause would show values


def read_query(shape: type[M], query: Mapping[str, str]) -> M:
    """The query of a URL as *shape*.

    Raises:
        BodyInvalid: With every mistake in it.
    """
    try:
        return shape.model_validate(dict(query))
    except ValidationError as error:
        raise BodyInvalid(_mistakes(error)) from None


def _mistakes(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        f"{'.'.join(map(str, each['loc'])) or 'body'}: {_said(each['type'], each['msg'])}" for each in found
    ]


def _said(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "is not known here"
        case "missing":
            return "is missing"
        case _:
            return (
                message.removeprefix("Value error, ")
                .replace("Input should", "should")
                .replace("Value should", "should")
            )


def key_json(known: KnownCredential, *, now: datetime | None = None) -> Json:
    """A key as operators see it; never its text or digest."""
    key = known.credential
    return {
        "id": key.id,
        "tenant": key.tenant,
        "state": _key_state(known, now or datetime.now(UTC)),
        "scopes": sorted(key.scopes),
        "note": known.note,
        "created_at": known.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": known.last_used_at,
    }


def _key_state(known: KnownCredential, now: datetime) -> Literal["valid", "revoked", "expired"]:
    if known.credential.revoked_at is not None:
        return "revoked"
    return "valid" if known.credential.is_valid(now) else "expired"


def audit_json(entry: AuditEntry) -> Json:
    """One administrative act."""
    said = entry.entry
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": said.actor,
        "act": said.act,
        "subject": said.subject,
        "outcome": said.outcome,
        "detail": said.detail,
        "head": str(Head(entry.id, entry.digest)),
    }


def verified_json(verified: Verified) -> Json:
    """How far the audit is as it was written, and what is wrong after that."""
    broken = verified.broken
    return {
        "entries": verified.last.id,
        "head": str(verified.last),
        "broken": broken and {"id": broken.id, "damage": broken.damage, "message": broken.why},
    }
