"""What an operator adds to a tier's lists, held against what is known to be dangerous."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from guard.lists import dangerous, extensions, why_dangerous
from tiergate.errors import TiergateError

_NAME = re.compile(r"[^\s.\"*]+")
# Postgres's rule for the letters of an operator; what else it rules out, no statement can contain.
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|`?]+")


class AdditionDangerous(TiergateError):
    """An operator wants to allow what would let statements act on the server, or learn of others."""

    code = "addition-dangerous"
    advice = "Take the name out of the guard's additions; docs/explanation/guard.md says what else there is."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} cannot be allowed to statements: it {reason}")
        self.name = name
        self.reason = reason


class AdditionUnreadable(TiergateError):
    """An addition is not a name of the kind it should be, or names an extension that is not known."""

    code = "addition-unreadable"
    advice = (
        "Write functions and types without a schema or quotes, and extensions as the reference of the guard."
    )

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"{name!r} cannot be added: it is no {wanted}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Additions:
    """What one tier's statements may name beyond the lists.

    Extensions have been replaced by what they bring once `checked` has been called.

    Attributes:
        functions: Without a schema, as Postgres spells them.
        types: By their internal name; not needed for types that are written with the application's schema.
    """

    functions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()


def checked(additions: Additions) -> Additions:
    """The same with its extensions spelled out, if nothing in it is dangerous.

    Raises:
        AdditionDangerous: A name is known to act, or to tell of others.
        AdditionUnreadable: A name is not of its kind, or an extension is not known.
    """
    known, feared = extensions(), dangerous()
    # A type can be called like a function, and a function's name can be a type's: each is held to both.
    called = additions.functions | additions.types
    _refuse(additions.extensions, feared.extensions)
    _refuse(called, feared.functions)
    _refuse((name.removeprefix("_") for name in called), feared.types)
    for names, form, wanted in (
        (additions.functions, _NAME, "name of a function without schema and quotes"),
        (additions.types, _NAME, "name of a type without schema and quotes"),
        (additions.operators, _OPERATOR, "operator"),
    ):
        for name in sorted(names):
            if not form.fullmatch(name):
                raise AdditionUnreadable(name, wanted)
    for name in sorted(additions.extensions - known.keys()):
        raise AdditionUnreadable(name, f"known extension (those are {', '.join(known)})")
    taken = [known[name] for name in additions.extensions]
    return Additions(
        functions=additions.functions.union(*(each.functions for each in taken)),
        types=additions.types.union(*(each.types for each in taken)),
        operators=additions.operators.union(*(each.operators for each in taken)),
    )


def _refuse(names: Iterable[str], patterns: dict[str, str]) -> None:
    for name in sorted(names):
        if reason := why_dangerous(name, patterns):
            raise AdditionDangerous(name, reason)
