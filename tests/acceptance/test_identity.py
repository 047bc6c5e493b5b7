"""Who is let in, and as whom: keys, tokens, connection strings and subdomains at the running gateway."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from tests.acceptance.conftest import (
    AUDIENCE,
    DOMAIN,
    ISSUER,
    SECRET_ISSUER,
    SHARED_SECRET,
    Operator,
    Running,
    Strict,
)
from tests.support.http import Answer, Door, assert_refused, exchange, query, request
from tests.support.waiting import hold_within, wait_until

WHO = query("SELECT tiergate.tenant() AS who")
VARIES = ("date", "tiergate-request-id", "neon-request-id", "server-timing")

NAMES = [
    '"; drop schema x; --',
    "'; DROP TABLE tasks; --",
    "a" * 63,
    "a" * 64,
    "a" * 5000,
    "\U0001f600",
    "ACME",
    "acme ",
    " acme",
    "acme\n",
    "acme\0",
    "acme.",
    "acme-",
    "acme%",
    "\u0430cme",  # the first letter is Cyrillic
    "\uff41cme",  # the first letter is wide
    "../acme",
    "acme/../umbrella",
    "pg_catalog",
    "tiergate_owner",
    "postgres",
    "*",
    "undefined",
    "umbrella",
    "no-such-tenant",
]  # fmt: skip


def string(user: str, password: str, host: str = "127.0.0.1") -> str:
    return f"Neon-Connection-String: postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host}/db"


def essence(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """The answer without what differs each time."""
    return answer.status, {k: v for k, v in answer.headers.items() if k not in VARIES}, answer.body


async def who(door: Door, **headers: str) -> httpx.Response:
    return await door.post(WHO, {name.replace("_", "-"): value for name, value in headers.items()})


async def until_refused(door: Door, key: str) -> httpx.Response:
    """Ask with *key* until it is refused; the refusal."""
    seen: list[httpx.Response] = []

    async def is_refused() -> bool:
        seen.append(await who(door, authorization=f"Bearer {key}"))
        return not seen[-1].is_success

    await wait_until(is_refused, what="the key refused")
    return seen[-1]


# -- keys


async def test_a_key_is_its_tenant_whatever_the_body_says(gateway: Running, door: Door) -> None:
    for name, tenant in gateway.tenants.items():
        headers = {"authorization": f"Bearer {tenant.key}", "x-tenant": "umbrella", "tenant-id": "umbrella"}
        body = json.dumps(
            {"query": "SELECT tiergate.tenant() AS who", "tenant": "umbrella", "tenant_id": "umbrella"}
        )

        answer = await door.post(body.encode(), headers)

        assert answer.json()["rows"] == [{"who": name}]


async def test_no_credential_is_told_so(gateway: Running) -> None:
    for headers in ([], ["Neon-Connection-String: postgresql://acme@h.example.com/db"]):
        answer = await exchange(gateway.url, request(None, WHO, *headers))

        assert_refused(answer, "no-credential", 401, "28000")


@pytest.mark.parametrize("change", ["last letter", "first letter", "cut", "longer", "other case", "other id"])
async def test_a_key_that_is_almost_right_is_refused(change: str, gateway: Running, door: Door) -> None:
    right, other = gateway.tenants["acme"].key, gateway.tenants["umbrella"].key
    _, key_id, secret = right.split("_", 2)
    wrong = {
        "last letter": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "first letter": f"tg_{key_id}_{'A' if secret[0] != 'A' else 'B'}{secret[1:]}",
        "cut": right[:-1],
        "longer": right + "A",
        "other case": f"tg_{key_id}_{secret.swapcase()}",
        "other id": f"tg_{other.split('_', 2)[1]}_{secret}",
    }[change]

    assert_refused(await who(door, authorization=f"Bearer {wrong}"), "unidentified", 401, "28P01")


async def test_wrong_key_wrong_tenant_and_unknown_tenant_read_the_same(
    gateway: Running, operator: Operator
) -> None:
    acme, umbrella = gateway.tenants["acme"].key, gateway.tenants["umbrella"].key
    revoked = await operator.create_key("acme")
    await operator.client.delete(f"/keys/{revoked['id']}")
    answers = [
        await exchange(gateway.url, request(None, WHO, headers))
        for headers in (
            string("acme", "tg_abcdefghjk_nothing"),
            string("acme", "nothing at all"),
            string("acme", umbrella),
            string("no-such-tenant", acme),
            string("no-such-tenant", "tg_abcdefghjk_nothing"),
            string("acme", revoked["key"]),
            string("acme", "a.b.c"),
        )
    ]

    assert_refused(answers[0], "unidentified", 401, "28P01")
    assert answers[0].status == 400
    assert {json.dumps([*essence(answer)[:2], answer.body.decode()]) for answer in answers} == {
        json.dumps([*essence(answers[0])[:2], answers[0].body.decode()])
    }


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_not_the_keys_tenant_is_refused_and_not_repeated(
    name: str, gateway: Running
) -> None:
    for key in (gateway.tenants["acme"].key, "tg_x_y"):
        answer = await exchange(gateway.url, request(None, WHO, string(name, key)))

        assert_refused(answer, "unidentified", 401, "28P01")
        assert name not in answer.body.decode()


async def test_a_connection_string_and_a_bearer_key_must_agree(gateway: Running, door: Door) -> None:
    acme, umbrella = gateway.tenants["acme"], gateway.tenants["umbrella"]
    named = {"neon_connection_string": "postgresql://acme@h.example.com/db"}

    agreeing = await who(door, authorization=f"Bearer {acme.key}", **named)
    differing = await who(door, authorization=f"Bearer {umbrella.key}", **named)
    both = await who(door, authorization=f"Bearer {acme.key}", neon_connection_string=acme.connection_string)

    assert agreeing.json()["rows"] == [{"who": "acme"}]
    assert_refused(differing, "unidentified", 401)
    assert_refused(both, "bad-header", 400)


async def revoked(operator: Operator, at: Door) -> float:
    """Seconds until a key that is revoked is refused *at* that gateway."""
    made = await operator.create_key("acme")
    assert (await who(at, authorization=f"Bearer {made['key']}")).is_success
    await operator.client.delete(f"/keys/{made['id']}")

    began_s = time.monotonic()
    assert_refused(await until_refused(at, made["key"]), "unidentified", 401, "28P01")
    return time.monotonic() - began_s


async def test_a_revoked_key_is_refused_within_100_ms(operator: Operator, door: Door) -> None:
    await hold_within(0.1, partial(revoked, operator, door), what="a revoked key to be refused")


async def test_a_key_revoked_through_one_gateway_is_refused_by_another(
    operator: Operator, strict: Strict
) -> None:
    await hold_within(0.1, partial(revoked, operator, strict.door), what="a revoked key to be refused")


async def test_a_key_ends_at_its_time_and_not_before(operator: Operator, door: Door) -> None:
    ends, key = datetime.now(UTC), ""

    async def is_believed() -> bool:
        """Unless it has ended before we came to ask."""
        nonlocal ends, key
        ends = datetime.now(UTC) + timedelta(seconds=0.7)
        key = (await operator.create_key("acme", expires_at=ends.isoformat()))["key"]
        answer = await who(door, authorization=f"Bearer {key}")
        assert answer.is_success or datetime.now(UTC) >= ends, answer.text
        return answer.is_success

    await wait_until(is_believed, what="a key that has not ended yet")
    refusal = await until_refused(door, key)

    assert datetime.now(UTC) >= ends
    assert_refused(refusal, "unidentified", 401, "28P01")


async def test_a_key_of_the_past_is_never_valid(operator: Operator, door: Door) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    made = await operator.client.post("/tenants/acme/keys", json={"expires_at": past.isoformat()})

    if made.is_success:
        answer = await who(door, authorization=f"Bearer {made.json()['key']}")
        assert_refused(answer, "unidentified", 401, "28P01")
    else:
        assert made.is_client_error


@pytest.mark.parametrize("tenant", ["acme", "globex", "treasury"])
async def test_a_key_that_may_only_read_writes_nothing(tenant: str, operator: Operator, door: Door) -> None:
    key = (await operator.create_key(tenant, scopes=["read"]))["key"]
    writes = [
        "INSERT INTO members (email, name) VALUES ('r@o.example', 'r')",
        "UPDATE members SET name = 'r'",
        "DELETE FROM members",
        "WITH gone AS (DELETE FROM members RETURNING 1) SELECT * FROM gone",
        "MERGE INTO members AS m USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
        "SELECT * FROM members FOR UPDATE",
    ]

    assert await door.rows(key, "SELECT count(*) > 0 FROM members") == [[True]]
    for write in writes:
        assert_refused(await door.ask(key, write), "statement-failed", 405, "25006")
        assert_refused(await door.batch(key, "SELECT 1", write), "statement-failed", 405, "25006")


async def test_a_suspended_tenant_is_told_so_and_only_with_its_key(
    operator: Operator, door: Door, strict: Strict
) -> None:
    name, key = await operator.create_tenant("standard")

    async def suspended(at: Door) -> float:
        """Seconds until that gateway says so."""

        async def is_served() -> bool:
            return (await who(at, authorization=f"Bearer {key}")).is_success

        await operator.client.post(f"/tenants/{name}/resume")
        await wait_until(is_served, what="the tenant to be served")
        await operator.client.post(f"/tenants/{name}/suspend")
        began_s = time.monotonic()
        assert_refused(await until_refused(at, key), "tenant-suspended", 403, "28000")
        return time.monotonic() - began_s

    for at in (door, strict.door):
        await hold_within(0.1, partial(suspended, at), what="a suspension to be known")
    stranger = await who(door, neon_connection_string=f"postgresql://{name}:tg_x_y@h.example.com/db")
    assert_refused(stranger, "unidentified", 401, "28P01")


# -- tokens


def claims(**more: object) -> dict[str, object]:
    now = time.time()
    return {"iss": ISSUER, "aud": AUDIENCE, "tenant": "acme", "sub": "s", "exp": now + 60, **more}


def token(strict: Strict, **more: object) -> str:
    return jwt.encode(claims(**more), strict.signs, algorithm="ES256", headers={"kid": "k1"})


def part(document: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


async def test_a_token_is_its_tenant(strict: Strict) -> None:
    for tenant in ("acme", "globex", "treasury"):
        told = token(strict, tenant=tenant)
        string_too = f"postgresql://{tenant}:{told}@h.example.com/db"

        assert (await who(strict.door, authorization=f"Bearer {told}")).json()["rows"] == [{"who": tenant}]
        assert (await who(strict.door, neon_connection_string=string_too)).json()["rows"] == [{"who": tenant}]


async def test_a_token_by_a_shared_secret_is_its_tenant(strict: Strict) -> None:
    told = jwt.encode(claims(iss=SECRET_ISSUER), SHARED_SECRET, algorithm="HS256")

    assert (await who(strict.door, authorization=f"Bearer {told}")).json()["rows"] == [{"who": "acme"}]


async def test_a_token_may_limit_itself_to_reading(strict: Strict) -> None:
    told = token(strict, scope="openid read")

    answer = await strict.door.ask(told, "DELETE FROM members")
    nothing = await strict.door.ask(token(strict, scope="openid"), "SELECT 1")

    assert_refused(answer, "statement-failed", 405, "25006")
    assert_refused(nothing, "scope-missing", 403, "42501")


WRONG_CLAIMS: dict[str, Callable[[float], dict[str, object]]] = {
    "expired": lambda now: {"exp": now - 5},
    "of the future": lambda now: {"nbf": now + 60},
    "for others": lambda _: {"aud": "others"},
    "of another issuer": lambda _: {"iss": "https://elsewhere.example.com"},
    "for no tenant": lambda _: {"tenant": None},
    "for several tenants": lambda _: {"tenant": ["acme", "umbrella"]},
    "for a tenant that cannot be": lambda _: {"tenant": '"; drop schema x; --'},
    "for a tenant that is not": lambda _: {"tenant": "no-such-tenant"},
    "with an end that is no number": lambda _: {"exp": "never"},
}
WRONG_SIGNATURES: dict[str, Callable[[Strict], str]] = {
    "of nothing": lambda _: "..",
    "of nonsense": lambda _: "a.b.c",
    "of deep nonsense": lambda _: f"{part({'alg': 'ES256'})}.{'W1tb' * 800}.x",
    "unsigned": lambda _: f"{part({'alg': 'none'})}.{part(claims())}.",
    "unsigned in capitals": lambda _: f"{part({'alg': 'NONE', 'kid': 'k1'})}.{part(claims())}.x",
    "unsigned with a signature": lambda strict: ".".join(
        (part({"alg": "none"}), part(claims()), token(strict).split(".")[2])
    ),
    "another's claims under a good signature": lambda strict: ".".join(
        (token(strict).split(".")[0], part(claims(tenant="umbrella")), token(strict).split(".")[2])
    ),
    "by a key of its own": lambda _: signed(generate_private_key(SECP256R1()), "ES256"),
    "by a key that is not there": lambda strict: signed(strict.signs, "ES256", kid="k2"),
    "by the shared secret for the other issuer": lambda _: signed(SHARED_SECRET, "HS256"),
    "by a public key as a secret": lambda strict: signed(
        f"{strict.signs.public_key().public_numbers().x:064x}", "HS256", iss=SECRET_ISSUER
    ),
    "by an algorithm that is not allowed": lambda _: signed(SHARED_SECRET * 2, "HS512", iss=SECRET_ISSUER),
    "without an end": lambda strict: signed(strict.signs, "ES256", exp=None),
}


def signed(key: EllipticCurvePrivateKey | str, algorithm: str, *, kid: str = "k1", **more: object) -> str:
    """A token by any key; a claim that is None is left out."""
    told = {name: value for name, value in claims(**more).items() if value is not None}
    return jwt.encode(told, key, algorithm=algorithm, headers={"kid": kid})


def forged(kind: str, strict: Strict) -> str:
    """A token that must not be believed."""
    if kind in WRONG_CLAIMS:
        return token(strict, **WRONG_CLAIMS[kind](time.time()))
    return WRONG_SIGNATURES[kind](strict)


@pytest.mark.parametrize("kind", [*WRONG_CLAIMS, *WRONG_SIGNATURES])
async def test_a_token_that_is_not_valid_is_refused_like_a_wrong_key(kind: str, strict: Strict) -> None:
    wrong_key = await exchange(strict.serving.url, request("tg_x_y", WHO))

    for _ in range(2):
        answer = await exchange(strict.serving.url, request(forged(kind, strict), WHO))

        assert_refused(answer, "unidentified", 401, "28P01")
        assert essence(answer) == essence(wrong_key)


async def test_a_token_is_not_believed_longer_than_it_lives(strict: Strict) -> None:
    """Though its issuer allows a second of leeway, and memory would keep it for ten."""
    ends_s, told = 0.0, ""

    async def is_believed() -> bool:
        """Unless it has ended, and its leeway as well, before we came to ask."""
        nonlocal ends_s, told
        ends_s = time.time() + 0.5
        told = token(strict, exp=ends_s)
        answer = await who(strict.door, authorization=f"Bearer {told}")
        assert answer.is_success or time.time() >= ends_s + 1, answer.text
        return answer.is_success

    async def until_its_end() -> float:
        """Seconds from the end of its leeway until it is refused."""
        await wait_until(is_believed, what="a token that has not ended yet")
        assert_refused(await until_refused(strict.door, told), "unidentified", 401, "28P01")
        return time.time() - ends_s - 1

    await hold_within(2.5, until_its_end, what="a token to end")


# -- subdomains


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (f"acme.{DOMAIN}", "acme"),
        (f"ACME.{DOMAIN.upper()}:8080", "acme"),
        (f"acme.{DOMAIN}.", "acme"),
        (f"api.{DOMAIN}", "acme"),
        (DOMAIN, "acme"),
        ("elsewhere.example.com", "acme"),
        (f"umbrella.{DOMAIN}", None),
        (f"no-such-tenant.{DOMAIN}", None),
        (f"acme.umbrella.{DOMAIN}", None),
        (f"umbrella.acme.{DOMAIN}", None),
        (f'";drop.{DOMAIN}', None),
        (f"umbrella.{DOMAIN}.evil.example.com", "acme"),
        (f"evil{DOMAIN}", "acme"),
    ],
)
async def test_a_subdomain_narrows_and_never_widens(
    host: str, expected: str | None, gateway: Running, strict: Strict
) -> None:
    bearer = f"Authorization: Bearer {gateway.tenants['acme'].key}"
    sent = request(None, WHO, bearer).replace(b"Host: gateway", f"Host: {host}".encode())

    answer = await exchange(strict.serving.url, sent)

    if expected is None:
        assert_refused(answer, "unidentified", 401, "28P01")
    else:
        assert answer.json()["rows"] == [{"who": expected}]


async def test_the_host_of_a_connection_string_names_the_tenant_where_its_user_cannot(
    gateway: Running, door: Door
) -> None:
    key = gateway.tenants["acme"].key

    right = await who(door, neon_connection_string=f"postgresql://neondb_owner:{key}@acme.example.com/db")
    wrong = await who(door, neon_connection_string=f"postgresql://neondb_owner:{key}@umbrella.example.com/db")

    assert right.json()["rows"] == [{"who": "acme"}]
    assert_refused(wrong, "unidentified", 401, "28P01")


async def test_two_host_headers_are_refused_where_the_host_counts(gateway: Running, strict: Strict) -> None:
    sent = request(gateway.tenants["acme"].key, WHO, f"Host: acme.{DOMAIN}")

    assert_refused(await exchange(strict.serving.url, sent), "bad-header", 400)


async def test_forwarded_hosts_are_not_believed(gateway: Running, strict: Strict) -> None:
    headers = [f"X-Forwarded-Host: umbrella.{DOMAIN}", f"Forwarded: host=umbrella.{DOMAIN}"]

    answer = await exchange(strict.serving.url, request(gateway.tenants["acme"].key, WHO, *headers))

    assert answer.json()["rows"] == [{"who": "acme"}]


async def test_guesses_at_keys_cost_the_others_nothing(gateway: Running, door: Door) -> None:
    async def guess(number: int) -> int:
        return (await who(door, authorization=f"Bearer tg_guess{number}_{'x' * 43}")).status_code

    async with asyncio.TaskGroup() as tasks:
        guesses = [tasks.create_task(guess(number)) for number in range(300)]
        good = [tasks.create_task(door.rows(tenant.key, "SELECT 1")) for tenant in gateway.tenants.values()]

    assert {task.result() for task in guesses} == {401}
    assert all(task.result() == [[1]] for task in good)
