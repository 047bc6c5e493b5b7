"""Why a statement is not let through. Nothing of its text is repeated but a name."""

from tiergate.errors import TiergateError

RULES = (
    "refused", "unreadable", "too-complex", "construct", "function", "type", "operator", "schema", "setting",
    "table", "collation", "database", "attribute", "parameter", "system-column", "explain-option",
)  # fmt: skip
"""What a statement may fail; a construct is what has no name, such as SELECT INTO."""

_OF_KINDS = {
    "the name of a database": "database",
    "the system column": "system-column",
    "the option of EXPLAIN": "explain-option",
}
_LONGEST_NAME = 63  # as Postgres's own
_LONGEST_MESSAGE = 120


class StatementNotPassed(TiergateError):
    """The guard does not let the statement through; never comes by itself.

    Attributes:
        position: Where, in characters of the caller's text, from 1.
        rule: Which of `RULES` it fails.
    """

    code = "statement-not-passed"

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position
        self.rule = self.code.removeprefix("statement-")


class StatementForbidden(StatementNotPassed):
    """Something in the statement is not on the list of what statements may say."""

    code = "statement-forbidden"
    advice = "docs/reference/guard.md lists what statements may say; the operator can add to it."

    def __init__(self, kind: str, name: str, position: int) -> None:
        """*kind* says what *name* is; without a name, what is forbidden itself."""
        what = f'{kind} "{name[:_LONGEST_NAME]}"' if name else kind
        super().__init__(f"statements must not use {what}", position)
        self.kind = kind
        self.name = name[:_LONGEST_NAME]
        rule = _OF_KINDS.get(kind, kind.removeprefix("the "))
        self.rule = rule if name and rule in RULES else "construct"


class StatementRefused(StatementNotPassed):
    """The text is not one statement of a kind that may run."""

    code = "statement-refused"
    advice = "Each text is one statement; a batch takes several. The operator runs all others."

    def __init__(self, reason: str, position: int = 1) -> None:
        super().__init__(f"{reason}; send one SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES", position)
        self.reason = reason


class StatementUnreadable(StatementNotPassed):
    """The text is not in Postgres's grammar."""

    code = "statement-unreadable"
    advice = "The message and position are those of the parser of PostgreSQL 18."

    def __init__(self, message: str, position: int = 1) -> None:
        is_long = len(message) > _LONGEST_MESSAGE
        super().__init__(f"{message[:_LONGEST_MESSAGE]}…" if is_long else message, position)


class StatementTooComplex(StatementNotPassed):
    """The text is longer, deeper or more intricate than is read."""

    code = "statement-too-complex"
    advice = "Send values as parameters, long lists as one array, and deep nesting in several steps."

    def __init__(self, reason: str, position: int = 1) -> None:
        super().__init__(f"the statement is too complex to be judged: {reason}", position)
        self.reason = reason
