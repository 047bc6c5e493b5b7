"""What was not let through, and what should never have had to be."""

from dataclasses import dataclass

from tiergate.tenant import TenantId, Tier


@dataclass(frozen=True, slots=True)
class CheckoutRefused:
    """A request that may ask, of a tenant that is known, did not get a connection.

    The request itself may still be served: at its tenant's new place, or at the cluster instead of a replica.

    Attributes:
        reason: The error's stable code.
    """

    tier: Tier
    cluster: str
    reason: str


@dataclass(frozen=True, slots=True)
class StatementBarred:
    """The guard did not let a statement through.

    Attributes:
        rule: What kind of thing it may not say; see `guard.errors.RULES`.
    """

    tier: Tier
    rule: str


@dataclass(frozen=True, slots=True)
class IsolationViolated:
    """One of the two walls between tenants was not where it should be; the other one stood, or nobody passed.

    Attributes:
        kind: "context", "forged" or "tampered"; `tiergate.events.ProtectionLost` tells of a fourth.
        reason: For operators; nothing of the statement's text is in it.
    """

    tenant: TenantId
    tier: Tier
    cluster: str
    kind: str
    reason: str


RefusalEvent = CheckoutRefused | StatementBarred | IsolationViolated
