"""JSON of the admin API about context keys."""

import math
from typing import Annotated

from pydantic import Field

from admin.shapes import Json, Label, Line, Shape
from registry.records import ContextKey


class OneDatabase(Shape):
    """`POST /context-keys/rotate`."""

    cluster: Label
    database: Annotated[Line, Field(min_length=1, max_length=63)]


class OldKey(OneDatabase):
    """`POST /context-keys/retire`."""

    at_once: bool = False


def context_key_json(key: ContextKey, retire_after_s: float) -> Json:
    """The key that signs contexts in one database; its number, never itself."""
    left_s = max(0, math.ceil(retire_after_s - key.age_s)) if key.retiring is not None else None
    return {
        "cluster": key.cluster,
        "database": key.database,
        "kid": key.kid,
        "since": key.since,
        "retiring": key.retiring,
        "retirable_in_s": left_s,
        "made": key.is_made,
    }
