"""What keeps a verification from running at all."""

from tiergate.errors import TiergateError


class VerifyRunning(TiergateError):
    """Another verification of this installation is under way."""

    code = "verify-running"
    retryable = True
    advice = (
        "Wait until it has ended: each tidies up after those that were cut short. There is one at a time."
    )

    def __init__(self) -> None:
        super().__init__("a verification of this installation is running already")
