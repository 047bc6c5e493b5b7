"""The credential tells the tenant; everything else in the headers may only agree."""

from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.credentials import Credential, Scope
from registry.errors import UnknownKey
from router.errors import BadHeader, BadRequest, NoCredential, Unidentified
from router.identify import MAX_HEADER_BYTES, Caller, Identifier
from router.jwt import Claims
from tiergate.deadline import Deadline
from tiergate.tenant import TenantId

Header = tuple[bytes, bytes]

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
KEY, OTHER_KEY, ANY_KEY, TOKEN = "tg_acme", "tg_globex", "tg_any", "head.load.sign"
SOON = Deadline.after(60)
THE_CALLER = Caller(ACME, frozenset(Scope), "key:acme-id")


def credential(key_id: str, tenant: TenantId | None) -> Credential:
    return Credential(key_id, tenant, b"", frozenset(Scope), datetime(2999, 1, 1, tzinfo=UTC), None)


class Ring:
    """Three keys that are valid; which of them are in memory is up to the test."""

    def __init__(self) -> None:
        self.valid = {
            KEY: credential("acme-id", ACME),
            OTHER_KEY: credential("globex-id", GLOBEX),
            ANY_KEY: credential("any-id", None),
        }
        self.in_memory: set[str] = set(self.valid)
        self.checked: list[str] = []

    def check_now(self, text: str) -> Credential | None:
        return self.valid.get(text) if text in self.in_memory else None

    async def check(self, text: str, deadline: Deadline) -> Credential:
        assert deadline is SOON
        self.checked.append(text)
        if text not in self.valid:
            raise UnknownKey
        return self.valid[text]


class Stubs:
    """One token that is valid."""

    def check_now(self, token: str) -> Claims | None:
        return Claims(ACME, frozenset({Scope.READ}), "u1", 2**40) if token == TOKEN else None

    async def check(self, token: str, deadline: Deadline) -> Claims:
        assert deadline is SOON
        claims = self.check_now(token)
        if claims is None:
            raise Unidentified("bad token")
        return claims


def identifier(domain: str | None = None) -> Identifier:
    return Identifier(Ring(), Stubs(), domain=domain)


def bearer(credential_text: str) -> Header:
    return (b"authorization", b"Bearer " + credential_text.encode())


def connection(text: str) -> Header:
    return (b"neon-connection-string", text.encode())


def host(name: str) -> Header:
    return (b"host", name.encode())


async def identified(*headers: Header, domain: str | None = None) -> Caller:
    """The caller; both ways to ask must say the same."""
    asked = identifier(domain)
    caller = await asked.identify(headers, SOON)
    assert asked.identify_now(headers) == caller
    return caller


async def refusal(*headers: Header, domain: str | None = None) -> Exception:
    with pytest.raises((BadRequest, Unidentified, NoCredential)) as caught:
        await identifier(domain).identify(headers, SOON)
    return caught.value


async def test_a_bearer_key_tells_its_tenant() -> None:
    assert await identified(bearer(KEY)) == THE_CALLER
    assert await identified((b"authorization", b"bEARER  tg_acme")) == THE_CALLER


async def test_a_token_tells_its_tenant_and_scopes() -> None:
    assert await identified(bearer(TOKEN)) == Caller(ACME, frozenset({Scope.READ}), "jwt:u1")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://acme:tg_acme@localhost/app",
        "postgres://acme:tg_acme@127.0.0.1:8080/app?sslmode=require&application_name=pkg%3Anpm&options=-c%20x=y",
        "POSTGRESQL://acme:tg%5Facme@[::1]:8080/",
        "postgresql://acme:tg_acme@db.example.org",
        "postgresql://neondb_owner:tg_acme@acme.gateway.test/neondb",
        "postgresql://Acme:tg_acme@ACME.gateway.test/neondb#x",
        "postgresql://acme:tg_acme@h/globex?user=globex&host=globex",
    ],
)
async def test_a_connection_string_holds_tenant_and_key(text: str) -> None:
    assert await identified(connection(text)) == THE_CALLER


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://globex:tg_acme@localhost/app",
        "postgresql://postgres:tg_acme@acme.gateway.test/app",
        "postgresql://neondb_owner:tg_acme@globex.gateway.test/app",
        "postgresql://neondb_owner:tg_acme@localhost/app",
        "postgresql://neondb_owner:tg_acme@127.0.0.1/app",
        "postgresql://neondb_owner:tg_acme@[::1]/app",
        "postgresql://%22%3B%20drop%20schema%20x%3B%20--:tg_acme@localhost/app",
        "postgresql://%F0%9F%A6%86:tg_acme@localhost/app",
        f"postgresql://{'a' * 64}:tg_acme@localhost/app",
        "postgresql://acme%00:tg_acme@localhost/app",
        "postgresql://acme:tg_wrong@localhost/app",
        "postgresql://acme:tg_acme%00@localhost/app",
        "postgresql://nobody:tg_wrong@localhost/app",
    ],
)
async def test_wrong_tenant_and_wrong_key_read_the_same(text: str) -> None:
    refused = await refusal(connection(text))

    assert isinstance(refused, Unidentified)
    assert str(refused) == str(Unidentified("anything"))


async def test_a_key_is_checked_before_the_tenant_it_is_shown_for() -> None:
    ring = Ring()
    asked = Identifier(ring, Stubs(), domain="example.com")

    with pytest.raises(Unidentified):
        await asked.identify(
            [connection("postgresql://globex:tg_acme@h/app"), host("umbrella.example.com")], SOON
        )

    assert ring.checked == [KEY]


async def test_memory_alone_identifies_whom_it_knows_and_leaves_the_rest_to_the_registry() -> None:
    ring = Ring()
    ring.in_memory = set()
    asked = Identifier(ring, Stubs(), domain=None)

    assert asked.identify_now([bearer(KEY)]) is None
    assert asked.identify_now([bearer("a.b.c")]) is None
    assert await asked.identify([bearer(KEY)], SOON) == THE_CALLER


async def test_a_token_may_come_beside_a_connection_string_without_password() -> None:
    assert (await identified(connection("postgresql://acme@h/app"), bearer(TOKEN))).tenant == ACME
    assert isinstance(await refusal(connection("postgresql://globex@h/app"), bearer(TOKEN)), Unidentified)


async def test_two_credentials_in_one_request_are_refused() -> None:
    assert isinstance(await refusal(connection("postgresql://acme:tg_acme@h/app"), bearer(KEY)), BadHeader)


@pytest.mark.parametrize("name", ["acme.example.com", "ACME.Example.Com:8080", "acme.example.com."])
async def test_a_subdomain_may_name_the_tenant_once_more(name: str) -> None:
    assert await identified(bearer(KEY), host(name), domain="example.com") == THE_CALLER


@pytest.mark.parametrize(
    "name", ["globex.example.com", "a.acme.example.com", "-.example.com", ".example.com"]
)
async def test_a_subdomain_never_lets_a_key_reach_another_tenant(name: str) -> None:
    assert isinstance(await refusal(bearer(KEY), host(name), domain="example.com"), Unidentified)
    assert isinstance(await refusal(bearer(TOKEN), host(name), domain="example.com"), Unidentified)


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "localhost:8080",
        "127.0.0.1",
        "[::1]:8080",
        "globex.example.com.evil.test",
        "globexample.com",
        "",
    ],
)
async def test_a_host_outside_the_domain_names_no_tenant(name: str) -> None:
    assert await identified(bearer(KEY), host(name), domain="example.com") == THE_CALLER


@pytest.mark.parametrize("name", ["api.example.com", "apiauth.example.com"])
async def test_the_labels_that_neons_driver_calls_name_no_tenant(name: str) -> None:
    text = "postgresql://acme:tg_acme@acme.example.com/app"

    assert await identified(connection(text), host(name), domain="example.com") == THE_CALLER


async def test_without_a_domain_the_host_header_says_nothing() -> None:
    assert await identified(bearer(KEY), host("globex.example.com"), host("\x00")) == THE_CALLER


async def test_user_and_host_of_a_connection_string_must_agree_under_the_domain() -> None:
    text = "postgresql://acme:tg_acme@globex.example.com/app"

    assert isinstance(await refusal(connection(text), domain="example.com"), Unidentified)
    assert await identified(connection(text), domain="example.org") == THE_CALLER


async def test_a_key_for_any_tenant_serves_the_one_that_is_named() -> None:
    by_user = await identified(connection("postgresql://globex:tg_any@h/app"))
    by_host = await identified(bearer(ANY_KEY), host("acme.example.com"), domain="example.com")

    assert (by_user.tenant, by_host.tenant) == (GLOBEX, ACME)


@pytest.mark.parametrize(
    "headers",
    [
        [bearer(ANY_KEY)],
        [connection("postgresql://acme:tg_any@h/app"), host("globex.example.com")],
        [connection("postgresql://no_tenant:tg_any@h/app")],
        [bearer(ANY_KEY), host("a.b.example.com")],
    ],
)
async def test_a_key_for_any_tenant_serves_nobody_unless_one_is_named(headers: list[Header]) -> None:
    assert isinstance(await refusal(*headers, domain="example.com"), Unidentified)


@pytest.mark.parametrize(
    "headers", [[], [connection("postgresql://acme@h/app")], [connection("postgresql://acme:@h/a")]]
)
async def test_a_request_without_credential_is_told_so(headers: list[Header]) -> None:
    assert isinstance(await refusal(*headers), NoCredential)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"Bearer", b"Bearer ", b"Basic YWNtZTp4", b"Bearer a b", b"tg_acme", b"Bearer tg\x00",
        b"Bearer t\xc3\xa9", b"Bearer tg_acme, Bearer tg_globex", b"Bearer " + b"a" * MAX_HEADER_BYTES,
    ],
)  # fmt: skip
async def test_an_authorization_that_cannot_be_read_is_refused(value: bytes) -> None:
    assert isinstance(await refusal((b"authorization", value)), BadHeader)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"acme:tg_acme@h/app", b"mysql://acme:tg_acme@h/app", b"postgresql://", b"postgresql://h/app",
        b"postgresql://acme:tg_acme@/app", b"postgresql://:tg_acme@h/app", b"postgresql://acme:tg%zz@h/app",
        b"postgresql://acme:tg%@h/app", b"postgresql://acme:tg%ff@h/app", b"postgresql://acme:t\xc3\xa9@h/app",
        b"postgresql://acme:t\x00@h/app", b"postgresql://acme:t@h:port/app", b"postgresql://acme:t@[::1/app",
        b"postgresql://acme:" + b"@" * MAX_HEADER_BYTES,
    ],
)  # fmt: skip
async def test_a_connection_string_that_cannot_be_read_is_refused(value: bytes) -> None:
    assert isinstance(await refusal((b"neon-connection-string", value)), BadHeader)


async def test_a_header_that_comes_twice_is_refused() -> None:
    text = connection("postgresql://acme:tg_acme@h/app")

    assert isinstance(await refusal(bearer(KEY), bearer(KEY)), BadHeader)
    assert isinstance(await refusal(text, text), BadHeader)
    assert isinstance(await refusal(bearer(KEY), host("a"), host("b"), domain="example.com"), BadHeader)


async def test_a_refusal_never_repeats_the_credential() -> None:
    for headers in (
        [connection("postgresql://acme:hunter2%@h/app")],
        [bearer("hunter2")],
        [bearer("hunter2 x")],
    ):
        refused = await refusal(*headers)

        assert "hunter2" not in f"{refused} {refused!r} {getattr(refused, 'reason', '')}"


@given(
    st.lists(
        st.tuples(st.sampled_from([b"authorization", b"neon-connection-string", b"host"]), st.binary()),
        max_size=4,
    )
)
def test_any_headers_give_a_caller_or_a_clear_refusal(headers: list[Header]) -> None:
    with suppress(BadHeader, NoCredential, Unidentified):
        identifier("example.com").identify_now(headers)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_connection_string_lets_a_key_reach_another_tenant(user: str, name: str, path: str) -> None:
    text = f"postgresql://{quote(user, safe='')}:tg_globex@{quote(name, safe='.:@/')}/{quote(path)}"
    try:
        caller = identifier("example.com").identify_now([connection(text)])
    except (BadHeader, NoCredential, Unidentified):
        return

    assert caller is None or caller.tenant == GLOBEX


async def test_what_was_parsed_is_kept_for_a_bounded_number_of_callers() -> None:
    asked = identifier()

    for number in range(3000):
        asked.identify_now([bearer(f"tg_{number}")])

    assert len(asked._claims) <= 1024
