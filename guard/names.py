"""The names in a statement, held against a catalog."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from guard.catalog import Catalog

Node = dict[str, Any]  # as it comes out of JSON
"""The fields of a node of the tree."""


class Forbidden(NamedTuple):
    """What is not on the list: what kind of thing, and its name; without one, the kind says it all."""

    kind: str
    name: str = ""


Check = Callable[[Node], Forbidden | None]

_BUILT_IN = "pg_catalog"
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
_WHO = ("tiergate", "tenant")  # says who asks; columns have it for their default
_SETTING = "current_setting"
_RESERVED = "pg_"
# Their functions take one argument, or will: nothing that is called like this follows a dot.
_NEVER_AFTER_A_DOT = (_RESERVED, "lo_", "dblink", "crosstab")
_COLUMN_OF_SCHEMA = 3  # schema.table.column
# What the server's operating system or ICU calls its languages: de_DE.utf8, en-US-x-icu.
_LOCALE = re.compile(r"[a-z]{2,3}(?:_[A-Z]{2}(?:\.utf8|\.UTF-8)?|(?:-[A-Za-z0-9]{2,8}){0,3}-x-icu)")
_WITHOUT_OPERATOR = frozenset(
    {"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"}
)
_MOST_PARAMETERS = 65535  # the server makes room for every one up to the highest: 1 GB for $268435455
_CLOCKS = frozenset(
    {
        "SVFOP_CURRENT_DATE",
        "SVFOP_CURRENT_TIME",
        "SVFOP_CURRENT_TIME_N",
        "SVFOP_CURRENT_TIMESTAMP",
        "SVFOP_CURRENT_TIMESTAMP_N",
        "SVFOP_LOCALTIME",
        "SVFOP_LOCALTIME_N",
        "SVFOP_LOCALTIMESTAMP",
        "SVFOP_LOCALTIMESTAMP_N",
    }
)


def checks(catalog: Catalog) -> Mapping[str, Check]:
    """What each class of node that holds names must pass."""
    names = _Names(catalog)
    return {
        "A_Expr": names.of_expression,
        "A_Indirection": names.of_indirection,
        "CollateClause": names.of_collation,
        "ColumnRef": names.of_column,
        "FuncCall": names.of_function,
        "IndexElem": names.of_index_element,
        "JoinExpr": names.of_join,
        "ParamRef": names.of_parameter,
        "RangeVar": names.of_table,
        "ResTarget": names.of_indirection,
        "SQLValueFunction": names.of_value_function,
        "SortBy": names.of_sort,
        "SubLink": names.of_sublink,
        "TypeName": names.of_type,
    }


class _Names:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def of_function(self, node: Node) -> Forbidden | None:
        catalog, (schema, name) = self._catalog, _split(node["funcname"])
        if schema in catalog.own_schemas:
            return None if name in catalog.own_functions else Forbidden("the function", name)
        if (schema, name) == _WHO:
            return None
        if schema not in ("", _BUILT_IN):
            return Forbidden("the schema", schema)
        # A type's name may be called, too: date('2030-01-01').
        if name in catalog.functions or name in catalog.types:
            return None
        if name == _SETTING:
            return self._setting(node)
        return Forbidden("the function", name)

    def _setting(self, node: Node) -> Forbidden | None:
        """Only settings that say nothing of others, and only by their names: no expression."""
        asked = node.get("args", [{}])[0].get("A_Const", {}).get("sval", {}).get("sval", "")
        if asked.lower() in self._catalog.settings:
            return None
        return Forbidden("the setting", asked) if asked else Forbidden("the function", _SETTING)

    def of_type(self, node: Node) -> Forbidden | None:
        catalog, (schema, name) = self._catalog, _split(node["names"])
        element = name.removeprefix("_")
        if schema in catalog.own_schemas:
            is_own = not (name.startswith(_RESERVED) or {name, element} & catalog.attributes_denied)
            return None if is_own else Forbidden("the type", name)
        if schema not in ("", _BUILT_IN):
            return Forbidden("the schema", schema)
        if name in catalog.types or element in catalog.types:
            return None
        return Forbidden("the type", name)

    def of_expression(self, node: Node) -> Forbidden | None:
        return None if node.get("kind") in _WITHOUT_OPERATOR else self._operator(node["name"])

    def of_sort(self, node: Node) -> Forbidden | None:
        return self._operator(node["useOp"]) if "useOp" in node else None

    def of_sublink(self, node: Node) -> Forbidden | None:
        return self._operator(node["operName"]) if "operName" in node else None

    def _operator(self, parts: list[Node]) -> Forbidden | None:
        catalog, (schema, name) = self._catalog, _split(parts)
        if schema not in ("", _BUILT_IN) and schema not in catalog.own_schemas:
            return Forbidden("the schema", schema)
        return None if name in catalog.operators else Forbidden("the operator", name)

    def of_collation(self, node: Node) -> Forbidden | None:
        return self._collation(node["collname"])

    def _collation(self, parts: list[Node]) -> Forbidden | None:
        catalog, (schema, name) = self._catalog, _split(parts)
        if schema in catalog.own_schemas:
            return None
        if schema not in ("", _BUILT_IN):
            return Forbidden("the schema", schema)
        is_listed = name in catalog.collations or _LOCALE.fullmatch(name)
        return None if is_listed else Forbidden("the collation", name)

    def of_index_element(self, node: Node) -> Forbidden | None:
        if "collation" in node and (found := self._collation(node["collation"])):
            return found
        return _system_column(node.get("name", ""))

    def of_join(self, node: Node) -> Forbidden | None:
        return _first(_system_column(name) for name in _words(node.get("usingClause", ())))

    def of_table(self, node: Node) -> Forbidden | None:
        schema, name = node.get("schemaname", ""), node["relname"]
        if schema and schema not in self._catalog.own_schemas:
            return Forbidden("the schema", schema)
        return Forbidden("the table", name) if name.startswith(_RESERVED) else None

    def of_column(self, node: Node) -> Forbidden | None:
        fields = node["fields"]
        if len(fields) > _COLUMN_OF_SCHEMA:
            return Forbidden("the name of a database", fields[0]["String"]["sval"])
        if len(fields) == _COLUMN_OF_SCHEMA:
            schema = fields[0]["String"]["sval"]
            if schema not in self._catalog.own_schemas:
                return Forbidden("the schema", schema)
        # Schema and table before it call nothing, and a star is no name.
        last = fields[-1].get("String")
        if last is None:
            return None
        return _system_column(last["sval"]) if len(fields) == 1 else self._attribute(last["sval"])

    def of_indirection(self, node: Node) -> Forbidden | None:
        if "indirection" not in node:
            return None
        return _first(self._attribute(word) for word in _words(node["indirection"]))

    def _attribute(self, name: str) -> Forbidden | None:
        """A name after a dot, which is a call if there is no such column."""
        if name in self._catalog.attributes_denied or name.startswith(_NEVER_AFTER_A_DOT):
            return Forbidden("the attribute", name)
        return _system_column(name)

    @staticmethod
    def of_parameter(node: Node) -> Forbidden | None:
        number = node.get("number", 0)
        return None if number <= _MOST_PARAMETERS else Forbidden("the parameter", f"${number}")

    @staticmethod
    def of_value_function(node: Node) -> Forbidden | None:
        op = node.get("op", "")
        return None if op in _CLOCKS else Forbidden(op.removeprefix("SVFOP_").lower())


def _system_column(name: str) -> Forbidden | None:
    return Forbidden("the system column", name) if name in _SYSTEM_COLUMNS else None


def _words(parts: Iterable[Node]) -> list[str]:
    return [part["String"]["sval"] for part in parts if "String" in part]


def _split(parts: list[Node]) -> tuple[str, str]:
    """The schema, '' without one, and the name; where a database comes first, that for a schema."""
    if len(parts) == 1:
        return "", parts[0]["String"]["sval"]
    words = _words(parts)
    return (words[0] if len(words) == 2 else ".".join(words[:-1])), words[-1]  # noqa: PLR2004 - schema and name


def _first(found: Iterable[Forbidden | None]) -> Forbidden | None:
    return next((each for each in found if each is not None), None)
