"""What a tier's statements may name: sets of names, and nothing about how statements are read."""

from dataclasses import dataclass


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
    """

    functions: frozenset[str]
    types: frozenset[str]
    operators: frozenset[str]
    attributes_denied: frozenset[str]
    collations: frozenset[str]
    own_schemas: frozenset[str]
    explain: bool
