"""Every route of the admin API has its entry in the reference, and every error of it a status."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.routing import Route

from admin import errors
from admin.app import Gateway, build_admin
from admin.problems import refusal

if TYPE_CHECKING:
    from tiergate.errors import TiergateError

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "admin-api.md").read_text(encoding="utf-8")


def routes() -> list[str]:
    """All of them, as `METHOD /path`."""
    gateway = Gateway(*[None] * 6)  # type: ignore[arg-type]  # nothing is called
    app = build_admin(None, gateway, key="x" * 16)  # type: ignore[arg-type]  # the same
    return [
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_explained(route: str) -> None:
    assert f"**`{route}`**" in REFERENCE


def test_each_error_of_the_admin_port_has_a_status_of_its_own_kind() -> None:
    made: list[tuple[TiergateError, int]] = [
        (errors.NotAdmitted(), 401),
        (errors.AcrossNotAdmitted(), 401),
        (errors.AcrossKeyNeeded(), 403),
        (errors.AcrossClosed(), 404),
        (errors.NoSuchRoute("GET", "/x"), 404),
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
