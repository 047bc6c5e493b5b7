"""What the admin API refuses by itself."""

from collections.abc import Sequence

from tiergate.errors import TiergateError


class NotAdmitted(TiergateError):
    """The request does not carry a valid admin key."""

    code = "not-admitted"
    advice = (
        "Send `Authorization: Bearer KEY` with a key of `tiergate admin key create`, or the value of "
        "admin.key (for the command: TIERGATE_ADMIN_KEY)."
    )

    def __init__(self) -> None:
        super().__init__("the admin key is missing or not valid")


class AcrossNotAdmitted(NotAdmitted):
    """The request carries neither the key across tenants nor the admin key."""

    advice = (
        "Send the value of admin.cross_tenant_key (for the command: --key-file or "
        "TIERGATE_CROSS_TENANT_KEY). The gateway knows it from its next start on."
    )

    def __init__(self) -> None:
        TiergateError.__init__(self, "the key across tenants is wrong, or not set here")


class AcrossClosed(TiergateError):
    """There is no door across tenants."""

    code = "across-closed"
    advice = (
        "Set admin.cross_tenant_key, a secret of its own, and restart; docs/how-to/cross-tenant.md says what "
        "that opens. For one tenant's rows `tiergate psql TENANT` is enough."
    )

    def __init__(self) -> None:
        super().__init__("nobody may ask across tenants here: admin.cross_tenant_key is not set")


class AcrossKeyNeeded(TiergateError):
    """The admin key does not open the door across tenants."""

    code = "across-key-needed"
    advice = (
        "Show the value of admin.cross_tenant_key instead of the admin key (for the command: "
        "TIERGATE_CROSS_TENANT_KEY)."
    )

    def __init__(self) -> None:
        super().__init__("asking across tenants takes a key of its own; the admin key is not it")


class RoleMissing(TiergateError):
    """The key is valid, and its role does not cover what is asked."""

    code = "role-missing"
    advice = "Ask somebody who may, or an owner for a key of that role: `tiergate admin key create`."

    def __init__(self, name: str, role: str, needed: str) -> None:
        super().__init__(f"the key {name!r} is a {role}'s; this takes {needed} or more")
        self.needed = needed


class AdminKeyTaken(TiergateError):
    """Another admin key has that name."""

    code = "admin-key-taken"
    advice = "Take another name, or revoke that key first: `tiergate admin key revoke`."

    def __init__(self, name: str) -> None:
        super().__init__(f"there is an admin key {name!r} already")
        self.name = name


class BodyTooLarge(TiergateError):
    """The body is larger than any that makes sense here."""

    code = "body-too-large"
    advice = "Send less; large data goes through the gateway, not through the admin API."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class BodyTooSlow(TiergateError):
    """The body did not arrive in time."""

    code = "body-too-slow"
    retryable = True
    advice = "Send it again."

    def __init__(self, within_s: float) -> None:
        super().__init__(f"the body did not arrive within {within_s:g} s")
        self.within_s = within_s


class BodyInvalid(TiergateError):
    """The body, or the query of the URL, does not say what it should.

    Attributes:
        mistakes: Each with its place; values are not repeated, since they may be secret.
    """

    code = "body-invalid"
    advice = "Correct everything that is listed; docs/reference/admin-api.md shows what each request takes."

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("the request is not understood")
        self.mistakes = tuple(mistakes)


class KeyInUse(TiergateError):
    """A gateway that hears nothing may still sign with the key that is to be retired."""

    code = "key-in-use"
    retryable = True
    advice = (
        "Wait that long; or retire it at once (`--at-once`), "
        "if gateways that cannot reach the registry may fail."
    )

    def __init__(self, cluster: str, database: str, left_s: float) -> None:
        super().__init__(
            f"a gateway may use the old key of database {database!r} on cluster {cluster!r}"
            f" for another {left_s:.0f} s"
        )
        self.left_s = left_s


class ScopeShared(TiergateError):
    """What is asked for one tenant would be done to all who share its connections."""

    code = "scope-shared"
    advice = "Name the pool, and it is done for all of them: `--pool`."

    def __init__(self, tenant: str, place: str) -> None:
        super().__init__(f"the connections of tenant {tenant!r} are those of pool {place!r}, which it shares")


class NotProven(TiergateError):
    """A move has no evidence yet."""

    code = "not-proven"
    retryable = True
    advice = "Ask again once it is cut over: `tiergate moves show` tells how far it is."

    def __init__(self, move: str) -> None:
        super().__init__(f"move {move} has left no evidence: it is not cut over")
        self.move = move


class NoSuchRoute(TiergateError):
    """Nothing is at this path."""

    code = "no-such-route"
    advice = "See docs/reference/admin-api.md for what there is."

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"there is nothing for {method} {path}")


class WrongMethod(TiergateError):
    """Something is at this path, but not for this method."""

    code = "wrong-method"
    advice = "Use one of the methods that the header `allow` names."

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} takes {', '.join(allowed)}, not {method}")
        self.allowed = tuple(allowed)
