"""The decision how a connection becomes one tenant's for one transaction. Pure; nothing is sent here."""

import hmac
import math
from dataclasses import dataclass
from typing import assert_never

from registry.placement import Placement
from tiergate.tenant import Tier

LONGEST_LIFE_S = 60
"""Of a token, by the database's clock."""
BELIEVED_S = 90
"""A token that would live longer is not believed by `tiergate.enter`."""

_ENTER = "SELECT tiergate.enter($1,$2,$3,$4,$5,$6,$7)"
_ENTER_OWN = _ENTER.encode()
# In the shared place the login has no rights at all: they are the sandbox role's, taken for this
# transaction only. The target list is worked off from the left, so `enter` still runs as the login.
_ENTER_SHARED = f"{_ENTER}, set_config('role', 'tiergate_app', true)".encode()


@dataclass(frozen=True, slots=True)
class Binding:
    """The statement that makes a transaction a tenant's, and its 7 parameters."""

    sql: bytes
    params: tuple[bytes, ...]


def bind(
    placement: Placement, *, pid: int, now_s: float, timeout_ms: int, life_s: float = LONGEST_LIFE_S
) -> Binding:
    """Sign *placement* for one transaction.

    Args:
        pid: The server process, as the server named it; a token is worth nothing on another connection.
            Through a pooler it is the pooler's, and says nothing: there the token is for the place's
            login and this timeout, whichever connection comes by, and only as long as it must be.
        now_s: Seconds since 1970, by the database's clock.
        timeout_ms: The server's statement_timeout for the transaction, at least 1.
        life_s: How long the token is good, through a pooler; at most LONGEST_LIFE_S.
    """
    place, epoch = placement.place, placement.epoch
    kid = place.context_kid
    if place.via_pgbouncer:
        kind, expires = b"p", math.ceil(now_s + min(life_s, LONGEST_LIFE_S))
        signed = (
            f"enter-pooled|{kid}|{place.login}|{expires}|{timeout_ms}|{epoch}|{place.id}|{placement.tenant}"
        )
    else:
        kind, expires = b"", int(now_s) + LONGEST_LIFE_S
        signed = f"enter|{kid}|{pid}|{expires}|{epoch}|{place.id}|{placement.tenant}"
    mac = hmac.digest(place.context_key, signed.encode(), "sha256").hex()
    params = (
        placement.tenant.encode(), place.id.encode(), b"%d" % epoch, b"%d" % kid,
        b"%d" % expires, kind + mac.encode(), b"%d" % timeout_ms,
    )  # fmt: skip
    match place.tier:
        case Tier.STANDARD:
            return Binding(_ENTER_SHARED, params)
        case Tier.PREMIUM | Tier.GOVERNMENT:
            return Binding(_ENTER_OWN, params)
        case _:
            assert_never(place.tier)
