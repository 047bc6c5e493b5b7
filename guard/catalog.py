"""What a tier's statements may name: sets of names, and nothing about how statements are read."""

from dataclasses import dataclass

from guard.additions import Additions, checked
from guard.lists import allowed, builtins, dangerous


@dataclass(frozen=True, slots=True)
class Catalog:
    """The names that are allowed; all as Postgres writes them, so in lower case unless they were quoted.

    Attributes:
        functions: Built-in and added ones, without a schema.
        types: By internal name: `int4`, not `integer`; arrays are not listed.
        operators: As `=` or `@>`.
        attributes_denied: Names that must not follow a dot: `(x).f` calls `f(x)` when there is no column f.
        collations: Without a schema.
        own_schemas: What may be written before a name of the application's own, as `public`.
        explain: Whether EXPLAIN may stand in front.
        own_functions: Added ones, which may be written with the application's schema, too.
        settings: What may be asked for with current_setting, in lower case.
    """

    functions: frozenset[str]
    types: frozenset[str]
    operators: frozenset[str]
    attributes_denied: frozenset[str]
    collations: frozenset[str]
    own_schemas: frozenset[str]
    explain: bool
    own_functions: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()


def catalog(additions: Additions, *, schemas: frozenset[str], explain: bool) -> Catalog:
    """The lists of one tier, with what the operator adds to them.

    Args:
        additions: Checked here.
        schemas: Names under which statements may write the application's schema.
        explain: Whether EXPLAIN is allowed.

    Raises:
        AdditionDangerous: A name is known to act, or to tell of others.
        AdditionUnreadable: A name is not of its kind, or an extension is not known.
    """
    listed, added, brought = allowed(), checked(additions), builtins()
    feared = {name for name in dangerous().functions if "*" not in name}
    functions = added.functions.union(*listed.functions.values())
    types = added.types.union(*listed.types.values())
    harmless = functions | types | {f"_{name}" for name in types} | listed.attributes
    return Catalog(
        functions=functions,
        types=types,
        operators=listed.operators | added.operators,
        attributes_denied=(brought.functions | brought.types | feared) - harmless,
        collations=listed.collations,
        own_schemas=schemas,
        explain=explain,
        own_functions=added.functions,
        settings=listed.settings,
    )
