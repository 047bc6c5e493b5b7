"""The decision how a connection becomes one tenant's for one transaction. Pure; nothing is sent here."""

import hmac
from dataclasses import dataclass
from typing import assert_never

from registry.placement import Placement
from tiergate.tenant import Tier

_TOKEN_LIFE_S = 60
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


def bind(placement: Placement, *, pid: int, now_s: float, timeout_ms: int) -> Binding:
    """Sign *placement* for the server process *pid* and the next minute.

    Args:
        pid: As the server named it; a token is worth nothing on another connection.
        now_s: Seconds since 1970.
        timeout_ms: The server's statement_timeout for the transaction, at least 1.
    """
    place = placement.place
    epoch, kid, expires = placement.epoch, place.context_kid, int(now_s) + _TOKEN_LIFE_S
    signed = f"enter|{kid}|{pid}|{expires}|{epoch}|{place.id}|{placement.tenant}"
    mac = hmac.digest(place.context_key, signed.encode(), "sha256").hex()
    params = (
        placement.tenant.encode(), place.id.encode(), b"%d" % epoch, b"%d" % kid,
        b"%d" % expires, mac.encode(), b"%d" % timeout_ms,
    )  # fmt: skip
    match place.tier:
        case Tier.STANDARD:
            return Binding(_ENTER_SHARED, params)
        case Tier.PREMIUM | Tier.GOVERNMENT:
            return Binding(_ENTER_OWN, params)
        case _:
            assert_never(place.tier)
