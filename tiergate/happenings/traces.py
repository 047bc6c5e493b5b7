"""What happened to the traces of requests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpansLost:
    """Requests were recorded, and whoever takes the spans did not take theirs.

    Attributes:
        requests: How many since this was told last.
    """

    requests: int
