"""A refusal is honest where it can be, readable for the driver where it must be, and tells nothing else."""

import json

import pytest

from pools.errors import (
    ContextRefused,
    DatabaseUnavailable,
    DeadlineExceeded,
    PgError,
    PoolExhausted,
    ResponseTooLarge,
    StaleRoute,
    StatementFailed,
)
from registry.errors import RegistryUnavailable, UnknownKey, UnknownTenant
from router.errors import (
    KeySetUnavailable,
    NoSuchDoor,
    RequestTooLarge,
    TenantSuspended,
    TooManyParameters,
    Unidentified,
    WrongShape,
)
from router.problems import Problem, honest_status, problem, sqlstate_status
from tiergate.errors import TiergateError
from tiergate.tenant import TenantId

ACME = TenantId("acme")
KEYS = [
    "message", "code", "detail", "hint", "position", "internalPosition", "internalQuery", "severity", "where",
    "table", "column", "schema", "dataType", "constraint", "file", "line", "routine",
]  # fmt: skip


def header(refusal: Problem, name: bytes) -> bytes | None:
    return dict(refusal.headers).get(name)


def failed(sqlstate: str) -> StatementFailed:
    return StatementFailed(PgError("no", sqlstate), 0)


@pytest.mark.parametrize(
    "error",
    [failed("23505"), WrongShape("query", "a string"), RuntimeError("x"), DatabaseUnavailable("c1", "down")],
)
@pytest.mark.parametrize("neon", [True, False])
def test_every_body_has_all_keys_in_the_formats_order(error: Exception, *, neon: bool) -> None:
    assert list(json.loads(problem(error, neon=neon).body)) == KEYS


def test_what_postgres_said_is_handed_on_word_for_word() -> None:
    said = PgError(
        "m", "23505", "ERROR", "d", "h", "12", "13", "iq", "w", "s", "t", "c", "dt", "con", "f.c", "77", "r"
    )  # fmt: skip

    body = json.loads(problem(StatementFailed(said, 0), neon=True).body)

    assert body == {
        "message": "m", "code": "23505", "detail": "d", "hint": "h", "position": "12",
        "internalPosition": "13", "internalQuery": "iq", "severity": "ERROR", "where": "w",
        "table": "t", "column": "c", "schema": "s", "dataType": "dt", "constraint": "con",
        "file": "f.c", "line": "77", "routine": "r",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [
        ("08006", 503), ("08P01", 400), ("22P02", 400), ("23503", 409), ("23505", 409), ("23P01", 409),
        ("23502", 400), ("23514", 400), ("25006", 405), ("28000", 401), ("28P01", 401), ("40001", 409),
        ("40P01", 409), ("42501", 403), ("42P01", 404), ("42883", 404), ("42601", 400), ("53300", 503),
        ("53200", 503), ("54001", 400), ("55P03", 409), ("57014", 504), ("57P01", 503), ("57P02", 503),
        ("57P03", 503), ("P0001", 400), ("XX000", 500), ("XX001", 500), ("PT404", 404), ("PT429", 429),
        ("PT503", 503), ("0A000", 400), ("TG999", 400), ("", 400),
    ],
)  # fmt: skip
def test_the_status_follows_from_the_sqlstate(sqlstate: str, status: int) -> None:
    assert sqlstate_status(sqlstate) == status
    assert problem(failed(sqlstate), neon=False).status == status


@pytest.mark.parametrize("sqlstate", ["PT200", "PT302", "PT999", "PT4x4", "PT000"])
def test_a_statement_cannot_make_a_refusal_look_like_an_answer(sqlstate: str) -> None:
    assert sqlstate_status(sqlstate) == 400


@pytest.mark.parametrize(
    ("error", "status", "sqlstate"),
    [
        (Unidentified("x"), 401, "28P01"),
        (TenantSuspended(ACME), 403, "28000"),
        (PoolExhausted("p", 1.0), 503, "53300"),
        (StaleRoute(ACME, "moved"), 503, "57P03"),
        (DatabaseUnavailable("c1", "x"), 503, "08006"),
        (DeadlineExceeded("queue"), 504, "57014"),
        (RequestTooLarge(10), 413, "54000"),
        (ResponseTooLarge(10), 507, "54000"),
        (WrongShape("query", "a string"), 400, "08P01"),
        (TooManyParameters("it", 70000, 65535), 400, "54023"),
        (NoSuchDoor("GET", "/sql", 405), 405, "0A000"),
    ],
)
def test_our_own_refusals_have_a_status_and_a_sqlstate(
    error: TiergateError, status: int, sqlstate: str
) -> None:
    refusal = problem(error, neon=False)

    body = json.loads(refusal.body)
    assert (refusal.status, refusal.honest_status, honest_status(error)) == (status, status, status)
    assert (body["code"], body["severity"], body["message"]) == (sqlstate, "ERROR", str(error))
    assert header(refusal, b"tiergate-error") == error.code.encode()
    assert refusal.outcome == error.code


@pytest.mark.parametrize(
    "error",
    [Unidentified("x"), PoolExhausted("p", 1.0), RequestTooLarge(1), ResponseTooLarge(1), failed("57014")],
)
def test_for_the_driver_every_refusal_is_400_and_the_honest_status_is_in_a_header(
    error: TiergateError,
) -> None:
    honest, driver = problem(error, neon=False), problem(error, neon=True)

    assert driver.status == 400
    assert driver.honest_status == honest.status
    assert header(driver, b"tiergate-status") == str(honest.status).encode()
    assert header(honest, b"tiergate-status") == str(honest.status).encode()
    assert driver.body == honest.body


@pytest.mark.parametrize("neon", [True, False])
def test_who_may_try_again_is_told_when(*, neon: bool) -> None:
    for sqlstate in ("40001", "40P01", "PT429", "57P03"):
        assert header(problem(failed(sqlstate), neon=neon), b"retry-after") == b"1"
    assert header(problem(PoolExhausted("p", 1.0), neon=neon), b"retry-after") == b"1"
    assert header(problem(failed("23505"), neon=neon), b"retry-after") is None
    assert header(problem(DeadlineExceeded("queue"), neon=neon), b"retry-after") is None


def test_a_401_says_how_to_authenticate() -> None:
    assert header(problem(Unidentified("x"), neon=False), b"www-authenticate") == b'Bearer realm="tiergate"'
    assert header(problem(Unidentified("x"), neon=True), b"www-authenticate") is None


def test_a_405_says_what_is_allowed() -> None:
    assert header(problem(NoSuchDoor("GET", "/sql", 405), neon=False), b"allow") == b"POST, OPTIONS"
    assert header(problem(failed("25006"), neon=False), b"allow") is None


def test_unknown_tenant_wrong_key_and_wrong_tenant_are_one_and_the_same_refusal() -> None:
    refusals = {
        problem(error, neon=True)
        for error in (Unidentified("the key is another tenant's"), UnknownTenant("globex"), UnknownKey())
    }

    assert len(refusals) == 1


def test_a_fence_that_suspends_reads_like_a_registry_that_suspends() -> None:
    assert problem(StaleRoute(ACME, "suspended"), neon=False) == problem(TenantSuspended(ACME), neon=False)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret-host:5432"),
        KeyError("secret-host"),
        RegistryUnavailable("secret-host refused"),
        DatabaseUnavailable("c1", "secret-host refused"),
        ContextRefused(ACME, "c1", "secret-host"),
        KeySetUnavailable("https://secret-host/", "secret-host refused"),
    ],
)
def test_what_is_for_operators_is_not_sent_to_callers(error: Exception) -> None:
    refusal = problem(error, neon=False)

    assert refusal.status in (500, 503)
    assert b"secret-host" not in refusal.body
    assert b"Traceback" not in refusal.body


class Unheard(TiergateError):
    """Of no package's table."""

    code = "unheard"


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TimeoutError(), Unheard("x"), ExceptionGroup("x", [OSError()])]
)
def test_an_unexpected_error_is_a_500_without_details(error: Exception) -> None:
    refusal = problem(error, neon=False)

    assert (refusal.status, refusal.outcome) == (500, "internal")
    assert json.loads(refusal.body)["code"] == "XX000"
    assert "x" not in json.loads(refusal.body)["message"].split()
