"""What the admin API answers about operators' keys and the audit, as shapes."""

from datetime import datetime
from typing import Any, Literal

from admin.told import Told
from registry.admin_keys import Role
from registry.chain import Damage


class AdminKeyTold(Told):
    """An operator's key; never its text."""

    id: str
    name: str
    role: Role
    state: Literal["valid", "revoked", "expired"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class AdminKeyMadeTold(AdminKeyTold):
    """A new key, with its text, this once."""

    key: str


class AdminKeysTold(Told):
    """Operators' keys, oldest first."""

    admin_keys: list[AdminKeyTold]


class AuditEntryTold(Told):
    """One act of an operator."""

    id: int
    at: datetime
    actor: str
    act: str
    subject: str
    outcome: str
    detail: dict[str, Any]  # what belongs to the act
    head: str


class AuditTold(Told):
    """A page of the audit."""

    entries: list[AuditEntryTold]
    next: str | None


class BrokenTold(Told):
    """The first entry that is not as it was written."""

    id: int
    damage: Damage
    message: str


class AuditVerifiedTold(Told):
    """How far the audit is as it was written."""

    entries: int
    head: str
    broken: BrokenTold | None
