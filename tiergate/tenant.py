"""The words for who is served: tenant names and tiers. Knows nothing of where rows live."""

import re
from enum import StrEnum
from typing import NewType

TenantId = NewType("TenantId", str)
"""A checked tenant name: a DNS label, 1 to 63 characters of a-z, 0-9 and inner hyphens."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Tier(StrEnum):
    """How a tenant is kept apart from the others."""

    STANDARD = "standard"
    PREMIUM = "premium"
    GOVERNMENT = "government"


def tenant_id(text: str) -> TenantId | None:
    """The tenant that *text* names, or None when it is no possible name.

    The rule is that of a DNS label, so that every tenant can have a subdomain.

    Source:
        RFC 1123, section 2.1; RFC 1035, section 2.3.4 (63 octets).
    """
    return TenantId(text) if _LABEL.fullmatch(text) else None
