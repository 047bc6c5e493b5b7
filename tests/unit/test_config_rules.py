"""Limits that cannot hold, and names that mean nothing, are refused at the setting to change."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from config.errors import Mistake, SettingsInvalid
from config.load import load
from config.settings import Settings

REQUIRED = {
    "admin.key": "k" * 31,
    "registry.url": "postgresql://u:p@db/registry",
    "secrets.master_key": "m" * 32,
    "application.sql": "/",
}
ISSUER = {"issuer": "i", "audience": "a"}
KEYS = {"jwks_url": "https://keys.example.com"}


def holds(changed: Mapping[str, object]) -> bool:
    return isinstance(load(None, {**REQUIRED, **changed}, {}), Settings)


def mistakes(changed: Mapping[str, object]) -> dict[str, Mistake]:
    with pytest.raises(SettingsInvalid) as caught:
        holds(changed)
    return {mistake.path: mistake for mistake in caught.value.mistakes}


def only(changed: Mapping[str, object]) -> tuple[str, str]:
    ((path, mistake),) = mistakes(changed).items()
    return path, mistake.instead


def test_every_process_gets_a_connection() -> None:
    path, instead = only({"gateway.processes": 81})

    assert path == "pools.max_db_connections"
    assert instead.startswith("write at least 81: ")


def test_a_pool_fits_into_the_share_of_one_process() -> None:
    path, instead = only({"gateway.processes": 4, "pools.tiers.standard.default_pool_size": 21})

    assert path == "pools.tiers.standard.default_pool_size"
    assert instead.startswith("write at most 20: ")


def test_a_pool_may_be_all_of_the_share() -> None:
    assert holds({"gateway.processes": 4, "pools.tiers.standard.default_pool_size": 20})


@pytest.mark.parametrize(
    "changed",
    [
        {"pools.tiers.government.query_wait_timeout": 30},
        {"pools.tiers.standard.statement_timeout_s": 30.5},
        {"registry.timeout_s": 30},
        {"gateway.body_timeout_s": 31},
        {"pools.server_connect_timeout": 31},
        {"pools.server_idle_timeout": 3601},
        {"registry.negative_ttl_s": 301},
    ],
)
def test_a_wait_fits_into_what_holds_it(changed: dict[str, object]) -> None:
    assert only(changed)[0] == next(iter(changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"pools.tiers.government.query_wait_timeout": 29.9},
        {"pools.tiers.standard.statement_timeout_s": 30},
        {"gateway.body_timeout_s": 30},
        {"pools.server_idle_timeout": 3600},
        {"registry.negative_ttl_s": 300},
    ],
)
def test_a_wait_may_be_as_long_as_it_can_be_reached(changed: dict[str, object]) -> None:
    assert holds(changed)


def test_tenants_and_operators_have_ports_of_their_own() -> None:
    assert only({"gateway.port": 8081})[0] == "admin.port"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost", "gateway-1.internal"])  # noqa: S104
def test_a_host_is_an_address_or_a_name(host: str) -> None:
    assert holds({"gateway.host": host})


@pytest.mark.parametrize("host", ["*", "127.0.0.1:80", "http://a", "256.1.1.1", "a b", "-a", "[::1]", "a..b"])
def test_what_is_neither_is_no_host(host: str) -> None:
    assert only({"gateway.host": host})[0] == "gateway.host"


def test_an_admin_port_that_others_reach_has_a_long_key() -> None:
    assert only({"admin.host": "0.0.0.0"})[0] == "admin.key"  # noqa: S104
    assert holds({"admin.host": "0.0.0.0", "admin.key": "k" * 32})  # noqa: S104


def test_the_admin_key_is_not_the_master_key() -> None:
    assert only({"admin.key": "m" * 32})[0] == "admin.key"


def test_the_key_across_tenants_is_no_other_key() -> None:
    assert holds({"admin.cross_tenant_key": "x" * 32})
    assert only({"admin.cross_tenant_key": "m" * 32})[0] == "admin.cross_tenant_key"
    assert only({"admin.key": "a" * 32, "admin.cross_tenant_key": "a" * 32})[0] == "admin.cross_tenant_key"


@pytest.mark.parametrize(
    ("path", "length"), [("admin.key", 16), ("admin.cross_tenant_key", 32), ("secrets.master_key", 32)]
)
def test_a_secret_has_a_least_length(path: str, length: int) -> None:
    assert holds({path: "s" * length})
    assert only({path: "s" * (length - 1)})[0] == path


@pytest.mark.parametrize("domain", ["db.example.com", "localhost", "a-b.c1", f"{'a' * 63}.com"])
def test_a_domain_is_a_dns_name(domain: str) -> None:
    assert holds({"gateway.domain": domain})


@pytest.mark.parametrize(
    "domain",
    [
        "*.example.com",
        "example.com.",
        ".com",
        "DB.example.com",
        "a_b.com",
        "10.0.0.1",
        "a:80",
        "é.com",
        "a" * 64,
        "a" * 190,
    ],
)
def test_what_is_no_dns_name_in_lower_case_is_no_domain(domain: str) -> None:
    assert only({"gateway.domain": domain})[0] == "gateway.domain"


@pytest.mark.parametrize("origin", ["*", "https://app.example.com", "http://localhost:3000"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    assert holds({"gateway.cors_origin": origin})


@pytest.mark.parametrize(
    "origin",
    ["app.example.com", "https://a/", "https://a/b", "ftp://a", "https://", "https://[a", "https://u@a"],
)
def test_what_has_more_or_less_is_no_origin(origin: str) -> None:
    assert only({"gateway.cors_origin": origin})[0] == "gateway.cors_origin"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db/registry",
        "postgresql+asyncpg://u:p%40@db:5433/registry?sslmode=require",
        "postgresql://u@/registry?host=/run/postgresql",
    ],
)
def test_a_registry_url_names_a_host_or_a_socket_and_a_database(url: str) -> None:
    assert holds({"registry.url": url})


@pytest.mark.parametrize(
    "url",
    [
        "db",
        "mysql://db/x",
        "postgresql://db",
        "postgresql:///x",
        "postgresql://db:port/x",
        "postgresql://[db/x",
    ],
)
def test_what_names_less_is_no_registry_url(url: str) -> None:
    assert only({"registry.url": url})[0] == "registry.url"


@pytest.mark.parametrize("schema", ["app", "_a1", "public"])
def test_a_schema_needs_no_quoting(schema: str) -> None:
    assert holds({"application.schema": schema})


@pytest.mark.parametrize(
    "schema",
    ["App", "1a", 'a"; drop schema x; --', "pg_toast", "pl_x", "tiergate", "information_schema", "a" * 64],
)
def test_a_schema_that_is_odd_or_taken_is_refused(schema: str) -> None:
    assert only({"application.schema": schema})[0] == "application.schema"


def test_the_folder_of_the_application_is_there(tmp_path: Path) -> None:
    assert only({"application.sql": tmp_path / "gone"})[0] == "application.sql"


def issuers(*entries: Mapping[str, object]) -> dict[str, object]:
    return {"identity.jwt": [{**ISSUER, **entry} for entry in entries]}


@pytest.mark.parametrize(("algorithm", "length"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_shared_secret_is_as_long_as_the_hash(algorithm: str, length: int) -> None:
    assert holds(issuers({"algorithms": [algorithm], "secret": "s" * length}))
    assert (
        only(issuers({"algorithms": [algorithm], "secret": "s" * (length - 1)}))[0]
        == "identity.jwt[0].secret"
    )


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"algorithms": ["HS256"]}, "secret"),
        ({"algorithms": ["HS256"], "secret": "s" * 32, **KEYS}, "jwks_url"),
        ({"algorithms": ["HS256"], "secret": "s" * 32, "jwks_file": __file__}, "jwks_file"),
        ({"algorithms": ["HS256"], "secret": "-----BEGIN PUBLIC KEY----- " + "s" * 32}, "secret"),
        ({"algorithms": ["HS256"], "secret": "ssh-ed25519 " + "s" * 32}, "secret"),
        ({"algorithms": ["RS256", "HS256"], "secret": "s" * 32}, "algorithms"),
        ({"algorithms": ["none"], **KEYS}, "algorithms"),
        ({"algorithms": [], **KEYS}, "algorithms"),
        ({"algorithms": "RS256", **KEYS}, "algorithms"),
        ({"algorithms": ["RS256"]}, "jwks_file"),
        ({"algorithms": ["RS256"], **KEYS, "secret": "s" * 32}, "secret"),
        ({"algorithms": ["RS256"], **KEYS, "jwks_file": __file__}, "jwks_url"),
        ({"algorithms": ["RS256"], "jwks_file": "/no/such/keys.json"}, "jwks_file"),
        ({"algorithms": ["RS256"], "jwks_url": "http://keys.example.com"}, "jwks_url"),
        ({"algorithms": ["RS256"], "jwks_url": "keys.example.com"}, "jwks_url"),
        ({"algorithms": ["RS256"], "jwks_url": "https://[keys"}, "jwks_url"),
    ],
)
def test_an_issuer_has_exactly_the_keys_of_its_algorithms(entry: dict[str, object], name: str) -> None:
    assert only(issuers(entry))[0] == f"identity.jwt[0].{name}"


@pytest.mark.parametrize(
    "entry",
    [
        {"algorithms": ["RS256", "ES512", "EdDSA"], **KEYS},
        {"algorithms": ["RS256"], "jwks_file": __file__},
        {"algorithms": ["RS256"], "jwks_url": "http://127.0.0.1:9/keys"},
    ],
)
def test_an_issuer_with_one_key_set_is_believed(entry: dict[str, object]) -> None:
    assert holds(issuers(entry))


def test_no_issuer_stands_twice() -> None:
    entry = {"algorithms": ["RS256"], **KEYS}

    assert only(issuers(entry, entry))[0] == "identity.jwt[1].issuer"


def test_statements_on_shared_tables_are_always_judged() -> None:
    path, instead = only({"guard.tiers.standard.sql": "full"})

    assert path == "guard.tiers.standard.sql"
    assert instead.startswith("write guarded: ")


def test_tenants_with_tables_of_their_own_may_have_all_of_sql() -> None:
    assert holds({"guard.tiers.premium.sql": "full", "guard.tiers.government.sql": "full"})


def test_a_list_of_names_is_never_cut_short() -> None:
    assert holds({"guard.tiers.standard.functions": [f"f{n}" for n in range(100)]})
    assert set(mistakes({"guard.tiers.standard.functions": [f"f{n}" for n in range(101)]})) == {
        "guard.tiers.standard.functions"
    }
