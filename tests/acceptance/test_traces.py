"""What answers say of themselves, whoever makes them, and of the trace that a request is a part of."""

import httpx
import pytest

from tests.acceptance.conftest import Running
from tests.acceptance.reach import tenant_of
from tests.support.http import exchange, head, query, request
from tiergate.tenant import Tier

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def known(gateway: Running) -> str:
    return tenant_of(gateway, Tier.STANDARD)[1].key


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nothing like HTTP\r\n\r\n", 400),
        (head(None, path="/nowhere", method="GET"), 404),
        (head(None, "Content-Length: 0", path="/sql/"), 404),
        (head(None, method="GET"), 405),
        (head(None, method="OPTIONS"), 204),
        (head(None, "Content-Length: 0"), 401),
        (head("tg_x_y", "Content-Length: 100000000"), 401),
    ],
)
async def test_every_answer_of_the_gateway_has_an_id_and_says_how_long_it_took(
    gateway: Running, sent: bytes, status: int
) -> None:
    answer = await exchange(gateway.url, sent)

    assert answer.status == status
    assert len(answer.headers["tiergate-request-id"]) == 36
    assert answer.headers["server-timing"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/tenants", 200),
        ("GET", "/tenants/nobody", 404),
        ("GET", "/nowhere", 404),
        ("PATCH", "/clusters", 405),
        ("POST", "/tenants", 422),
    ],
)
@pytest.mark.parametrize("shows_key", [True, False])
async def test_every_answer_of_the_admin_port_has_an_id_and_says_how_long_it_took(
    gateway: Running,
    method: str,
    path: str,
    status: int,
    shows_key: bool,  # noqa: FBT001 - both ways
) -> None:
    shown = {"authorization": f"Bearer {gateway.admin_key}"} if shows_key else {}
    async with httpx.AsyncClient(base_url=gateway.admin, trust_env=False) as admin:
        answers = [await admin.request(method, path, headers=shown) for _ in range(2)]

    assert {answer.status_code for answer in answers} <= {status, 401}
    assert len({answer.headers["tiergate-request-id"] for answer in answers}) == 2
    assert all(answer.headers["server-timing"].startswith("total;dur=") for answer in answers)


@pytest.mark.parametrize("parent", [PARENT, "nonsense", PARENT.upper(), f"{PARENT}'*/; DROP TABLE members"])
async def test_no_traceparent_makes_a_request_fail(gateway: Running, parent: str) -> None:
    sent = request(known(gateway), query("SELECT 1 AS one"), f"Traceparent: {parent}", "Tracestate: =,=")
    answer = await exchange(gateway.url, sent)

    assert answer.status == 200, answer.body
    assert answer.json()["rows"] == [{"one": 1}]
