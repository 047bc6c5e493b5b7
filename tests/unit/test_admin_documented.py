"""Every route of the admin API is explained and in the document, and every error has its status."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from starlette.routing import Route

from admin import errors
from admin.app import Gateway, build_admin
from admin.contract import Act, Entry
from admin.openapi import document
from admin.problems import refusal, status_of
from registry.admin_keys import Role
from tests.unit.test_cli_documented import NAMES

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from tiergate.errors import TiergateError

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "admin-api.md").read_text(encoding="utf-8")
LOCAL = {"demo", "serve", "check", "version", "moves work"}
"""Commands that run here, and ask no gateway."""


def app() -> "Starlette":
    gateway = Gateway(*[None] * 7)  # type: ignore[arg-type]  # nothing is called
    return build_admin(None, gateway, key="x" * 16)  # type: ignore[arg-type]  # the same


ACTS: tuple[Act, ...] = app().state.acts
DOCUMENT: dict[str, Any] = document(ACTS)  # JSON
each_act = pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)


def test_nothing_is_served_that_is_not_in_the_table() -> None:
    routes = [
        f"{method} {route.path}"
        for route in app().routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]

    assert sorted(routes) == sorted(act.name for act in ACTS)
    assert len(app().routes) == len(ACTS) == len({act.name for act in ACTS})


def test_a_route_that_does_not_say_who_may_pass_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="needs"):
        Act(method="GET", path="/x", does=ACTS[0].does, says="x", tells="text/plain")  # type: ignore[call-arg]


@each_act
def test_every_route_is_explained(act: Act) -> None:
    assert f"**`{act.name}`**" in REFERENCE


def test_nothing_is_explained_that_is_not_there() -> None:
    explained = re.findall(r"\*\*`([A-Z]+ /[^`]*)`\*\*", REFERENCE)

    assert sorted(set(explained)) == sorted(act.name for act in ACTS)


@each_act
def test_the_reference_says_which_role_a_route_needs(act: Act) -> None:
    needs = (
        act.needs
        if isinstance(act.needs, Role)
        else {"open": "no key", "apart": "a key of its own"}[act.needs]
    )

    assert f"| `{act.name}` | {needs} |" in REFERENCE


@each_act
def test_every_route_is_in_the_document_with_every_code_that_may_come(act: Act) -> None:
    said = DOCUMENT["paths"][act.path][act.method.lower()]

    for kind in act.errors:
        assert f"`{kind.code}`" in said["responses"][str(status_of(kind))]["description"]
    assert ("401" in said["responses"]) is (act.needs is not Entry.OPEN)
    assert said["summary"].endswith(".")


@each_act
def test_an_example_is_a_body_that_the_route_takes(act: Act) -> None:
    if act.example is not None:
        assert act.takes is not None

        act.takes.model_validate_json(orjson.dumps(act.example))


def test_a_body_that_must_be_given_has_an_example() -> None:
    needy = [
        act
        for act in ACTS
        if act.takes is not None and any(field.is_required() for field in act.takes.model_fields.values())
    ]

    assert [act.name for act in needy if act.example is None] == []


def test_what_the_document_refers_to_is_there() -> None:
    wanted = set(re.findall(r"'#/components/schemas/(\w+)'", str(DOCUMENT)))

    assert wanted <= set(DOCUMENT["components"]["schemas"])
    assert "#/$defs" not in str(DOCUMENT)


def test_everything_that_a_command_asks_is_a_route() -> None:
    commands = {name.removeprefix("tiergate ") for name in NAMES} - LOCAL

    assert commands <= {command for act in ACTS for command in act.commands}


def test_each_error_of_the_admin_port_has_a_status_of_its_own_kind() -> None:
    made: list[tuple[TiergateError, int]] = [
        (errors.NotAdmitted(), 401),
        (errors.AcrossNotAdmitted(), 401),
        (errors.AcrossKeyNeeded(), 403),
        (errors.RoleMissing("ann", "viewer", "owner"), 403),
        (errors.AdminKeyTaken("ann"), 409),
        (errors.AcrossClosed(), 404),
        (errors.NoSuchRoute("GET", "/x"), 404),
        (errors.WrongMethod("GET", "/x", ["POST"]), 405),
        (errors.BodyTooSlow(1), 408),
        (errors.BodyTooLarge(1), 413),
        (errors.BodyInvalid(["x"]), 422),
        (errors.KeyInUse("c", "d", 1), 409),
        (errors.ScopeShared("t", "p"), 409),
        (errors.NotProven("m"), 404),
    ]

    assert [refusal(error).status_code for error, _ in made] == [status for _, status in made]
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert {type(error) for error, _ in made} == kinds
