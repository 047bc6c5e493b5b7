"""The OpenAPI document of the admin API, made of the table of its routes.

What is not in the table is not served, and what is served is in the document.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from admin.contract import Act, Entry
from admin.problems import status_of
from admin.shapes import LABEL, Shape
from admin.told import Refusal
from admin.told_state import SqlFailedTold
from tiergate import __version__

Json = dict[str, Any]  # JSON of any depth

_JSON = "application/json"
_SURPRISE = 500
_PARTS: Mapping[str, Json] = {
    "name": {"type": "string", "pattern": LABEL},
    "replica": {"type": "string", "pattern": LABEL},
    "id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
}
_ABOUT = """What operators may do, as the command `tiergate` and other programs ask it. A role covers those \
before it: viewer, operator, owner. Every refusal has one shape, and a code that is stable."""


def document(acts: Iterable[Act]) -> Json:
    """OpenAPI 3.1, for *acts*."""
    acts = tuple(acts)
    paths: defaultdict[str, Json] = defaultdict(dict)
    for act in acts:
        paths[act.path][act.method.lower()] = _operation(act)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tiergate admin API",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": _schemas(acts),
            "securitySchemes": {
                "adminKey": {"type": "http", "scheme": "bearer", "description": "An admin key."},
                "crossTenantKey": {
                    "type": "http", "scheme": "bearer", "description": "The key across tenants.",
                },
            },
        },
    }  # fmt: skip


def _operation(act: Act) -> Json:
    said: Json = {
        "operationId": _words(act),
        "summary": act.says,
        "tags": [act.path.split("/")[1]],
        "parameters": [*_path_parts(act), *_query_parts(act), *_header_parts(act)],
        "responses": _responses(act),
        "x-tiergate-needs": act.needs.value,
        "x-tiergate-commands": [f"tiergate {command}" for command in act.commands],
        "security": [] if act.needs is Entry.OPEN else [{_key(act): []}],
    }
    if act.takes is not None:
        shown: Json = {"schema": _at(act.takes)}
        if act.example is not None:
            shown["examples"] = {"example": {"value": dict(act.example)}}
        has_to = any(field.is_required() for field in act.takes.model_fields.values())
        said["requestBody"] = {"required": has_to, "content": {_JSON: shown}}
    return said


def _key(act: Act) -> str:
    return "crossTenantKey" if act.needs is Entry.APART else "adminKey"


def _words(act: Act) -> str:
    parts = [part.strip("{}").replace("-", "_") for part in act.path.split("/") if part]
    return "_".join([act.method.lower(), *parts])


def _path_parts(act: Act) -> list[Json]:
    names = [part.strip("{}") for part in act.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": _PARTS[name]} for name in names]


def _query_parts(act: Act) -> list[Json]:
    if act.asks is None:
        return []
    shape = _schema_of(act.asks)
    needed = shape.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": _without_null(schema)}
        for name, schema in shape["properties"].items()
    ]


def _header_parts(act: Act) -> list[Json]:
    if act.method == "GET":
        return []
    says = "Who acts, for the audit, when the key names nobody."
    return [{"name": "tiergate-actor", "in": "header", "schema": {"type": "string"}, "description": says}]


def _without_null(schema: Json) -> Json:
    """*schema* for a query: what is missing there is missing, and not null."""
    left = {name: value for name, value in schema.items() if name not in {"anyOf", "default", "title"}}
    told = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    merged = {**left, **told[0]} if len(told) == 1 else {**left, **({"anyOf": told} if told else {})}
    if schema.get("default") is not None:
        merged["default"] = schema["default"]
    return merged


def _responses(act: Act) -> Json:
    found: Json = {str(act.status): _good(act.tells)}
    for status, shape in act.also.items():
        found[str(status)] = _good(shape)
    codes: defaultdict[int, set[str]] = defaultdict(set)
    for error in act.errors:
        codes[status_of(error)].add(error.code)
    codes[_SURPRISE].add("internal")
    for status, said in sorted(codes.items()):
        if str(status) not in found:
            found[str(status)] = _bad(status, said, is_door=act.is_door)
    if act.is_door:
        through = {"description": "As at `/sql`.", "content": {_JSON: {"schema": _at(SqlFailedTold)}}}
        found["default"] = through
    return found


def _good(tells: type[BaseModel] | str) -> Json:
    if isinstance(tells, str):
        content: Json = {tells: {"schema": {"type": "string"}}}
        return {"description": "As it is told in the reference.", "content": content}
    return {"description": (tells.__doc__ or "").split("\n")[0], "content": {_JSON: {"schema": _at(tells)}}}


def _bad(status: int, codes: Iterable[str], *, is_door: bool) -> Json:
    ours = sorted(codes)
    narrowed = {"properties": {"error": {"properties": {"code": {"enum": ours}}}}}
    schema: Json = {"allOf": [_at(Refusal), narrowed]}
    if is_door:
        schema = {"anyOf": [schema, _at(SqlFailedTold)]}
    said: Json = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in ours)}.",
        "content": {_JSON: {"schema": schema}},
    }
    match status:
        case HTTPStatus.UNAUTHORIZED:
            said["headers"] = {"www-authenticate": {"schema": {"type": "string"}}}
        case HTTPStatus.SERVICE_UNAVAILABLE:
            said["headers"] = {"retry-after": {"schema": {"type": "string"}}}
        case _:
            pass
    return said


def _at(shape: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _mode(shape: type[BaseModel]) -> JsonSchemaMode:
    return "validation" if issubclass(shape, Shape) else "serialization"


def _schema_of(shape: type[BaseModel]) -> Json:
    """A flat schema: what it refers to is put in its place."""
    whole = TypeAdapter(shape).json_schema(mode=_mode(shape))
    defined = whole.pop("$defs", {})

    def put(part: object) -> Any:  # JSON
        match part:
            case {"$ref": str(name), **rest}:
                return {**put(defined[name.rpartition("/")[2]]), **rest}
            case dict():
                return {name: put(each) for name, each in part.items()}
            case list():
                return [put(each) for each in part]
            case _:
                return part

    flat: Json = put(whole)
    return flat


def _schemas(acts: Iterable[Act]) -> Json:
    shapes: set[type[BaseModel]] = {Refusal, SqlFailedTold}
    for act in acts:
        shapes.update(shape for shape in (act.tells, act.takes) if isinstance(shape, type))
        shapes.update(act.also.values())
    named = [(shape, _mode(shape), TypeAdapter(shape)) for shape in shapes]
    tops, rest = TypeAdapter.json_schemas(named, ref_template="#/components/schemas/{model}")
    found: Json = dict(rest.get("$defs", {}))
    for (shape, _), schema in tops.items():
        found.setdefault(shape.__name__, schema)
    return dict(sorted(found.items()))
