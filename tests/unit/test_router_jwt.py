"""A token is believed only for what its issuer's settings allow."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from config.settings import Jwt
from registry.credentials import Scope
from router.errors import KeySetUnavailable, Unidentified
from router.jwt import Claims, Tokens
from router.keyset import Read
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

ISSUER, AUDIENCE = "https://issuer.test/", "tiergate"
SECRET = "s" * 64
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC256, EC384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
PUBLIC_PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
PEM_LINE = PUBLIC_PEM.decode()

JWKS: dict[str, dict[str, Any]] = {
    "rsa": RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True),
    "ec256": ECAlgorithm.to_jwk(EC256.public_key(), as_dict=True),
    "ec384": ECAlgorithm.to_jwk(EC384.public_key(), as_dict=True),
    "ed": OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True),
}


def key_set(*members: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(members) or [{**key, "kid": kid} for kid, key in JWKS.items()]}).encode()


def settings(*algorithms: Any, **changes: Any) -> Jwt:
    known: dict[str, Any] = {
        "issuer": ISSUER, "audience": AUDIENCE, "algorithms": algorithms or ("RS256",),
        "tenant_claim": "tenant", "scope_claim": "scope", "leeway_s": 5, "jwks_file": None, "jwks_url": "https://issuer.test/keys",
        "jwks_ttl_s": 300, "secret": None,
    }  # fmt: skip
    return Jwt(**{**known, **changes})


def reading(text: bytes) -> Callable[[Jwt], Read]:
    async def read() -> bytes:
        return text

    return lambda _: read


def tokens(issuer: Jwt | None = None, text: bytes | None = None, **more: Any) -> Tokens:
    return Tokens([issuer or settings()], **{"cache_s": 10, "read": reading(text or key_set()), **more})


def claims(**changes: Any) -> dict[str, Any]:
    known = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, "sub": "u1", "tenant": "acme"}
    return {name: value for name, value in {**known, **changes}.items() if value is not ...}


def signed(payload: Any = None, *, key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(
        claims() if payload is None else payload, key, algorithm=algorithm, headers={"kid": "rsa", **header}
    )


def part(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def forged(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would make; header and payload may be any bytes."""
    texts = (value if isinstance(value, bytes) else json.dumps(value).encode() for value in (header, payload))
    signing_input = b".".join(part(text) for text in texts)
    return (signing_input + b"." + part(sign(signing_input))).decode()


def by_mac(key: bytes) -> Callable[[bytes], bytes]:
    return lambda text: hmac.new(key, text, sha256).digest()


async def checked(token: str, asked: Tokens | None = None) -> Claims:
    return await (asked or tokens()).check(token, Deadline.after(5))


async def refused(token: str, asked: Tokens | None = None) -> str:
    """Why the token is refused."""
    with pytest.raises(Unidentified) as caught:
        await checked(token, asked)
    return caught.value.reason


async def test_a_valid_token_tells_tenant_scopes_and_subject() -> None:
    believed = await checked(signed(claims(scope="write openid")))

    assert (believed.tenant, believed.scopes, believed.subject) == (
        TenantId("acme"),
        frozenset({Scope.WRITE}),
        "u1",
    )


@pytest.mark.parametrize(
    ("algorithm", "key", "kid"),
    [
        ("RS256", RSA, "rsa"), ("RS512", RSA, "rsa"), ("PS384", RSA, "rsa"),
        ("ES256", EC256, "ec256"), ("ES384", EC384, "ec384"), ("EdDSA", ED, "ed"), ("HS256", SECRET, "x"),
    ],
)  # fmt: skip
async def test_every_kind_of_signature_is_checked_with_its_own_kind_of_key(
    algorithm: str, key: Any, kid: str
) -> None:
    asked = tokens(settings(algorithm, secret=SECRET))
    good = signed(key=key, algorithm=algorithm, kid=kid)
    head, _, signature = good.split(".")

    assert (await checked(good, asked)).tenant == "acme"
    assert await refused(
        ".".join((head, part(json.dumps(claims(tenant="globex")).encode()).decode(), signature)), asked
    )


async def test_a_token_without_kid_is_tried_with_every_key_that_fits() -> None:
    others = [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) for key in (OTHER_RSA, RSA)]

    await checked(jwt.encode(claims(), RSA, algorithm="RS256"), tokens(text=key_set(*others)))


@pytest.mark.parametrize("name", ["none", "None", "nOnE", "NONE", ""])
@pytest.mark.parametrize("signature", [b"", b"x"])
async def test_the_algorithm_none_is_never_believed(name: str, signature: bytes) -> None:
    token = forged({"alg": name, "typ": "JWT", "kid": "rsa"}, claims(), lambda _: signature)

    assert await refused(token)
    assert await refused(token, tokens(settings("RS256", "HS256", secret=SECRET)))


async def test_an_algorithm_that_is_not_allowed_is_refused_even_with_a_good_signature() -> None:
    assert "algorithm" in await refused(signed(algorithm="RS512"))
    assert "algorithm" in await refused(
        signed(key=SECRET, algorithm="HS256"), tokens(settings(secret=SECRET))
    )


@pytest.mark.parametrize(
    "mac_key", [PUBLIC_PEM, PEM_LINE.strip().encode(), json.dumps(JWKS["rsa"]).encode(), b""]
)
async def test_a_public_key_is_never_taken_for_a_shared_secret(mac_key: bytes) -> None:
    token = forged({"alg": "HS256", "kid": "rsa"}, claims(), by_mac(mac_key))

    assert await refused(token)
    assert await refused(token, tokens(settings("RS256", "HS256")))
    assert await refused(token, tokens(settings("RS256", "HS256", secret=SECRET)))


async def test_a_shared_secret_in_a_key_set_is_no_key() -> None:
    oct_key = {"kty": "oct", "kid": "rsa", "k": part(SECRET.encode()).decode(), "alg": "HS256"}
    asked = tokens(settings("HS256", "RS256"), key_set(oct_key, {**JWKS["rsa"], "kid": "other"}))

    assert await refused(signed(key=SECRET, algorithm="HS256"), asked)


async def test_a_secret_shorter_than_its_digest_verifies_nothing() -> None:
    assert await refused(
        forged({"alg": "HS256"}, claims(), by_mac(b"short")), tokens(settings("HS256", secret="short"))
    )


async def test_a_key_serves_only_the_algorithm_and_curve_it_was_made_for() -> None:
    bound = key_set({**JWKS["rsa"], "kid": "rsa", "alg": "RS256"})

    assert await refused(signed(algorithm="PS256"), tokens(settings("RS256", "PS256"), bound))
    assert await refused(
        signed(key=EC256, algorithm="ES256", kid="ec384"), tokens(settings("ES256", "ES384"))
    )
    assert await refused(
        forged({"alg": "ES256", "kid": "rsa"}, claims(), by_mac(b"")), tokens(settings("ES256"))
    )


@pytest.mark.parametrize(
    "changes", [{"use": "enc"}, {"alg": "HS256"}, {"alg": 1}, {"kid": 1}, {"n": "AQAB"}, {"n": 1}]
)
async def test_keys_that_cannot_verify_are_left_out(changes: dict[str, Any]) -> None:
    spoiled = {**JWKS["rsa"], "kid": "rsa", **changes}

    assert await refused(signed(), tokens(text=key_set(spoiled, {**JWKS["ed"], "kid": "ed"})))


async def test_a_weak_rsa_key_is_left_out() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that it is weak is the point
    text = key_set(
        {**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "rsa"}, {**JWKS["ed"], "kid": "ed"}
    )
    token = forged(
        {"alg": "RS256", "kid": "rsa"},
        claims(),
        lambda text: RSAAlgorithm(RSAAlgorithm.SHA256).sign(text, weak),
    )

    assert await refused(token, tokens(text=text))


async def test_a_private_key_in_a_key_set_serves_as_its_public_half() -> None:
    private = {**RSAAlgorithm.to_jwk(RSA, as_dict=True), "kid": "rsa"}

    await checked(signed(), tokens(text=key_set(private)))


async def test_a_key_that_the_token_itself_brings_is_ignored() -> None:
    brought = RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True)

    assert await refused(
        signed(key=OTHER_RSA, jwk=brought, jku="https://evil.test/keys", x5u="https://evil.test/x")
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": int(time.time()) - 60}, "ExpiredSignatureError"),
        ({"nbf": int(time.time()) + 600}, "ImmatureSignatureError"),
        ({"iat": int(time.time()) + 600}, "ImmatureSignatureError"),
        ({"exp": ...}, "MissingRequiredClaimError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": "tomorrow"}, "DecodeError"),
        ({"exp": float("inf")}, "DecodeError"),
        ({"exp": []}, "DecodeError"),
        ({"aud": ...}, "MissingRequiredClaimError"),
        ({"aud": "another"}, "InvalidAudienceError"),
        ({"aud": []}, "MissingRequiredClaimError"),
        ({"aud": {"tiergate": 1}}, "InvalidAudienceError"),
        ({"iss": "https://issuer.test"}, "unknown"),
        ({"iss": ...}, "cannot be read"),
        ({"iss": [ISSUER]}, "cannot be read"),
        ({"sub": 7}, "InvalidSubjectError"),
    ],
)
async def test_a_claim_that_does_not_hold_is_refused(changes: dict[str, Any], why: str) -> None:
    payload = json.dumps(claims(**changes)).encode()
    token = forged(
        {"alg": "RS256", "kid": "rsa"},
        payload,
        lambda text: RSAAlgorithm(RSAAlgorithm.SHA256).sign(text, RSA),
    )

    assert why in await refused(token)


async def test_clocks_may_differ_by_the_leeway() -> None:
    now = int(time.time())

    await checked(signed(claims(exp=now - 2, nbf=now + 2)))
    await checked(signed(claims(aud=["x", AUDIENCE])))


async def test_a_token_of_another_issuers_key_is_refused() -> None:
    first, second = settings(), settings(issuer="https://other.test/")
    rings = {
        ISSUER: key_set(),
        "https://other.test/": key_set({**RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True)}),
    }
    asked = Tokens([first, second], cache_s=10, read=lambda issuer: reading(rings[issuer.issuer])(issuer))

    await checked(signed(), asked)
    assert await refused(signed(key=OTHER_RSA), asked)
    await checked(jwt.encode(claims(iss="https://other.test/"), OTHER_RSA, algorithm="RS256"), asked)


DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize(
    "token",
    [
        "", "..", "a.b.c", "a.b", "é.é.é", "." * 1000, "e30.e30.e30", "bnVsbA.bnVsbA.", "W10.W10.W10",
        forged(DEEP, claims(), by_mac(b"")), forged({"alg": "RS256"}, DEEP, by_mac(b"")),
        forged({"alg": "RS256"}, b'{"iss":' + DEEP + b"}", by_mac(b"")),
        forged({"alg": "RS256"}, b"[1]", by_mac(b"")), forged({"alg": ["RS256"]}, claims(), by_mac(b"")),
        forged({"alg": {}}, claims(), by_mac(b"")),
        forged({"alg": "RS256", "kid": {}}, claims(), by_mac(b"")),
        forged({"alg": "RS256", "crit": ["x"], "x": 1}, claims(), by_mac(b"")),
        forged({"alg": "RS256", "b64": False, "crit": ["b64"]}, claims(), by_mac(b"")),
        forged({"alg": "RS256"}, b'{"iss":"\xff"}', by_mac(b"")),
        forged({"alg": "RS256"}, b"9" * 6000, by_mac(b"")),
    ],
)  # fmt: skip
async def test_what_is_no_token_is_refused_and_nothing_else_happens(token: str) -> None:
    assert await refused(token)


async def test_an_expiry_without_end_is_believed_for_the_caches_time_only() -> None:
    now = time.time()
    asked = tokens(now=lambda: now)
    token = signed(claims(exp=10**400))

    await checked(token, asked)
    now += 11

    assert asked.check_now(token) is None


async def test_a_valid_token_is_believed_for_the_caches_time_without_checking() -> None:
    now = time.time()
    asked = tokens(now=lambda: now)
    token = signed()

    assert asked.check_now(token) is None
    believed = await checked(token, asked)
    assert asked.check_now(token) == believed
    assert asked.check_now(signed(claims(tenant="globex"))) is None
    now += 10
    assert asked.check_now(token) is None


async def test_a_token_is_never_believed_past_its_own_end() -> None:
    now = time.time()
    asked = tokens(cache_s=3600, now=lambda: now)
    token, over = signed(), signed(claims(exp=int(time.time()) - 1))

    await checked(token, asked)
    await checked(over, asked)

    assert asked.check_now(over) is None
    assert asked.check_now(token) is not None
    now += 61
    assert asked.check_now(token) is None


async def test_a_cache_of_no_seconds_keeps_nothing() -> None:
    asked = tokens(cache_s=0)
    token = signed()

    await checked(token, asked)

    assert asked.check_now(token) is None


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("tenant", {}),
        ("app_metadata.tenant", {"app_metadata": {"tenant": "acme"}}),
        ("https://example.com/tenant", {"https://example.com/tenant": "acme"}),
        ("https://example.com/app.tenant.name", {"https://example.com/app": {"tenant.name": "acme"}}),
        ("a.b.c", {"a.b": {"c": "acme"}, "a": {"b": "not an object"}}),
        ("a.b", {"a.b": "acme", "a": {"b": "globex"}}),
    ],
)
async def test_the_tenant_is_found_by_a_dotted_path(path: str, changes: dict[str, Any]) -> None:
    assert (await checked(signed(claims(**changes)), tokens(settings(tenant_claim=path)))).tenant == "acme"


@pytest.mark.parametrize(
    "tenant", [..., None, "", "Acme", "a" * 64, '"; drop schema x; --', "🦆", 1, ["acme"], {"a": "acme"}]
)
async def test_a_token_that_names_no_tenant_is_refused(tenant: Any) -> None:
    assert "tenant" in await refused(signed(claims(tenant=tenant)))


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        (..., {"read", "write"}),
        (None, {"read", "write"}),
        ("read", {"read"}),
        ("openid  write read", {"read", "write"}),
        (["write"], {"write"}),
        ("", set()),
        ("openid readwrite", set()),
        ([1, None, "read"], {"read"}),
    ],
)
async def test_scopes_are_a_string_or_a_list_and_both_when_absent(claim: Any, scopes: set[str]) -> None:
    assert (await checked(signed(claims(scope=claim)))).scopes == scopes


@pytest.mark.parametrize("claim", [1, True, {"read": True}])
async def test_scopes_of_another_shape_are_refused(claim: Any) -> None:
    assert "scopes" in await refused(signed(claims(scope=claim)))


async def test_a_key_set_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set())
    asked = Tokens([settings(jwks_url=None, jwks_file=path)], cache_s=0)

    await checked(signed(), asked)
    path.unlink()
    await checked(signed(), asked)


async def test_a_missing_key_set_says_that_it_is_the_gateways_fault(tmp_path: Path) -> None:
    asked = Tokens([settings(jwks_url=None, jwks_file=tmp_path / "none.json")], cache_s=0)

    with pytest.raises(KeySetUnavailable) as caught:
        await checked(signed(), asked)

    assert str(tmp_path) not in str(caught.value)
    assert "none.json" in caught.value.reason
