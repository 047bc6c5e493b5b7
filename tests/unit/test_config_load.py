"""From YAML, defaults and overrides to settings, or to all mistakes at once."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.errors import Mistake, SettingsInvalid
from config.load import NONE, load
from config.settings import Jwt, Settings
from tiergate.tenant import Tier

ENV = {"KEY": "admin-key-0123456789", "MASTER": "m" * 40, "PASSWORD": "pass-word-1"}
MINIMAL = """
admin: {key: "${env:KEY}"}
registry: {url: "postgresql://tiergate:${env:PASSWORD}@db:5432/tiergate"}
secrets: {master_key: "${env:MASTER}"}
application: {sql: .}
"""


def loaded(
    folder: Path, text: str = "", env: Mapping[str, str] = ENV, overrides: Mapping[str, object] = NONE
) -> Settings:
    path = folder / "tiergate.yaml"
    path.write_text(MINIMAL.lstrip() + textwrap.dedent(text))
    return load(path, overrides, env)


def mistakes(folder: Path, text: str = "", env: Mapping[str, str] = ENV) -> tuple[Mistake, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        loaded(folder, text, env)
    return caught.value.mistakes


def mistake(folder: Path, text: str = "", env: Mapping[str, str] = ENV) -> Mistake:
    (only,) = mistakes(folder, text, env)
    return only


def test_what_is_not_said_is_as_in_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert settings.gateway.port == 8080
    assert settings.identity.jwt == ()
    assert settings.pools.tiers[Tier.PREMIUM].default_pool_size == 5
    assert set(settings.pools.tiers) == set(Tier)


def test_a_file_wins_over_the_defaults_setting_by_setting(tmp_path: Path) -> None:
    limits = loaded(tmp_path, "pools: {tiers: {standard: {default_pool_size: 7}}}").pools.tiers[Tier.STANDARD]

    assert (limits.default_pool_size, limits.max_waiting) == (7, 1000)


def test_overrides_win_over_the_file_by_dotted_name_or_nested(tmp_path: Path) -> None:
    overrides = {"gateway.port": 9, "gateway": {"host": "::1"}, "pools.tiers.premium": {"max_waiting": 0}}
    settings = loaded(tmp_path, "gateway: {port: 7, host: 127.0.0.1, processes: 2}", overrides=overrides)

    assert (settings.gateway.port, settings.gateway.host, settings.gateway.processes) == (9, "::1", 2)
    assert settings.pools.tiers[Tier.PREMIUM].max_waiting == 0


def test_a_program_may_start_without_a_file(tmp_path: Path) -> None:
    required = {
        "admin.key": "k" * 20,
        "registry.url": "postgresql://u:p@/registry?host=/tmp",
        "secrets.master_key": "m" * 32,
        "application.sql": tmp_path,
        "pools.tiers": {Tier.STANDARD: {"max_waiting": 3}},
        "identity.jwt": ({"issuer": "i", "audience": "a", "algorithms": ("HS256",), "secret": "s" * 32},),
    }

    settings = load(None, required, {})

    assert settings.application.sql == tmp_path
    assert settings.pools.tiers[Tier.STANDARD].max_waiting == 3
    assert settings.identity.jwt[0].algorithms == ("HS256",)


def test_overrides_are_taken_literally(tmp_path: Path) -> None:
    assert loaded(tmp_path, overrides={"admin.key": "${env:NO-REFERENCE}"}).admin.key == "${env:NO-REFERENCE}"


def test_an_empty_heading_says_nothing(tmp_path: Path) -> None:
    assert (
        loaded(tmp_path, "gateway:\n  # port: 1\npools:\n  tiers:\nidentity:\n  jwt:\n").gateway.port == 8080
    )


def test_references_are_followed_alone_and_within_a_text(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert settings.admin.key == ENV["KEY"]
    assert settings.registry.url == "postgresql://tiergate:pass-word-1@db:5432/tiergate"


def test_a_number_may_come_from_the_environment(tmp_path: Path) -> None:
    text = 'gateway: {port: "${env:PORT}", request_timeout_s: "${env:WAIT}"}'

    gateway = loaded(tmp_path, text, ENV | {"PORT": "9000", "WAIT": "45.5"}).gateway

    assert (gateway.port, gateway.request_timeout_s) == (9000, 45.5)


def test_a_secret_of_digits_stays_text(tmp_path: Path) -> None:
    assert loaded(tmp_path, env=ENV | {"KEY": "0" * 20}).admin.key == "0" * 20


def test_whole_numbers_serve_as_seconds(tmp_path: Path) -> None:
    timeout = loaded(tmp_path, "gateway: {request_timeout_s: 40}").gateway.request_timeout_s

    assert (timeout, type(timeout)) == (40.0, float)


def test_paths_start_in_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").touch()
    text = "identity: {jwt: [{issuer: i, audience: a, algorithms: [ES256], jwks_file: ./keys.json}]}"

    settings = loaded(tmp_path, text)

    assert settings.application.sql == tmp_path
    assert settings.identity.jwt[0].jwks_file == tmp_path / "keys.json"


def test_an_issuer_has_defaults_of_its_own(tmp_path: Path) -> None:
    said = "issuer: i, audience: a, algorithms: [ES256], jwks_url: 'https://i/keys', leeway_s: 1"

    assert loaded(tmp_path, f"identity: {{jwt: [{{{said}}}]}}").identity.jwt == (
        Jwt("i", "a", ("ES256",), "tenant", "scope", 1.0, None, "https://i/keys", 300.0, None),
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("gateway: {port: '8080'}", "gateway.port"),
        ("gateway: {port: 8080.0}", "gateway.port"),
        ("gateway: {port: true}", "gateway.port"),
        ("gateway: {port: null}", "gateway.port"),
        ("gateway: {port: [1]}", "gateway.port"),
        ("gateway: {port: {a: 1}}", "gateway.port"),
        ("gateway: {port: 0}", "gateway.port"),
        ("gateway: {port: 65536}", "gateway.port"),
        (f"gateway: {{port: {'9' * 5000}}}", "gateway.port"),
        ("gateway: {host: 1}", "gateway.host"),
        ("gateway: {host: ''}", "gateway.host"),
        ("gateway: {max_request_bytes: 10 MiB}", "gateway.max_request_bytes"),
        ("gateway: {max_response_bytes: 99999999999}", "gateway.max_response_bytes"),
        ("gateway: {drain_timeout_s: -1}", "gateway.drain_timeout_s"),
        ("gateway: {drain_timeout_s: .nan}", "gateway.drain_timeout_s"),
        ("gateway: {drain_timeout_s: 1e400}", "gateway.drain_timeout_s"),
        ("pools: {max_db_connections: 0}", "pools.max_db_connections"),
        ("pools: {tiers: {premium: {default_pool_size: -1}}}", "pools.tiers.premium.default_pool_size"),
        ("logging: {level: INFO}", "logging.level"),
        ("logging: {requests: true}", "logging.requests"),
        ('gateway: {domain: "a\\nb"}', "gateway.domain"),
        ('gateway: {domain: "a\\ud800"}', "gateway.domain"),
    ],
)
def test_a_value_of_the_wrong_kind_or_out_of_bounds_is_refused_where_it_stands(
    text: str, path: str, tmp_path: Path
) -> None:
    only = mistake(tmp_path, text)

    assert (only.path, only.line) == (path, 5)
    assert only.instead.startswith("write ")


def test_a_bound_is_told_with_the_mistake(tmp_path: Path) -> None:
    only = mistake(tmp_path, "gateway: {port: 70000}")

    assert str(only) == "gateway.port (line 5): found 70000; write a whole number from 1 to 65535"


def test_a_number_in_quotes_is_told_to_lose_them(tmp_path: Path) -> None:
    assert mistake(tmp_path, "gateway: {port: '80'}").instead.endswith("without quotes")


@pytest.mark.parametrize("written", ["7", "[a]", "text"])
def test_a_section_must_hold_settings(written: str, tmp_path: Path) -> None:
    only = mistake(tmp_path, f"gateway: {written}")

    assert only.path == "gateway"
    assert "host, port" in only.instead


def test_an_issuer_that_is_no_mapping_is_one_mistake(tmp_path: Path) -> None:
    assert mistake(tmp_path, "identity:\n  jwt:\n    - text\n").path == "identity.jwt[0]"


def test_issuers_must_be_a_list(tmp_path: Path) -> None:
    assert mistake(tmp_path, "identity: {jwt: {issuer: i}}").path == "identity.jwt"


def test_what_an_issuer_lacks_is_named(tmp_path: Path) -> None:
    paths = {each.path for each in mistakes(tmp_path, "identity: {jwt: [{}]}")}

    assert paths == {f"identity.jwt[0].{name}" for name in ("issuer", "audience", "algorithms")}


@pytest.mark.parametrize(
    ("text", "path", "meant"),
    [
        ("gateway: {prot: 1}", "gateway.prot", "port"),
        ("gatewya: {}", "gatewya", "gateway"),
        ("max_pools: 1", "max_pools", "pools.max_pools"),
        ("pools: {tiers: {premum: {}}}", "pools.tiers.premum", "premium"),
        ("logging: {colour: red}", "logging.colour", "level, requests, slow_s"),
    ],
)
def test_an_unknown_setting_is_refused_with_what_may_be_meant(
    text: str, path: str, meant: str, tmp_path: Path
) -> None:
    only = mistake(tmp_path, text)

    assert (only.path, only.line) == (path, 5)
    assert meant in only.instead


def test_what_is_required_has_no_default() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(None, {}, {})

    missing = {each.path for each in caught.value.mistakes}
    assert missing == {"admin.key", "registry.url", "secrets.master_key", "application.sql"}


def test_a_missing_reference_is_one_mistake_with_path_line_and_name(tmp_path: Path) -> None:
    env = {name: value for name, value in ENV.items() if name != "PASSWORD"}

    only = mistake(tmp_path, env=env)

    assert (only.path, only.line) == ("registry.url", 2)
    assert "PASSWORD" in only.instead


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = """\
        gateway: {port: 0, prot: 1, body_timeout_s: 60}
        pools: {max_pools: many, max_pools: 3, tiers: {premium: {default_pool_size: 100}}}
        logging: {level: "${env:LEVEL}"}
        """

    assert {each.path for each in mistakes(tmp_path, text)} == {
        "gateway.port",
        "gateway.prot",
        "gateway.body_timeout_s",
        "pools.max_pools",
        "pools.tiers.premium.default_pool_size",
        "logging.level",
    }


def test_nobody_is_blamed_for_a_value_that_stands_in_for_a_wrong_one(tmp_path: Path) -> None:
    assert mistake(tmp_path, "gateway: {request_timeout_s: soon}").path == "gateway.request_timeout_s"


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    assert mistake(tmp_path, "logging: {level: info}\nlogging: {level: debug}").path == "logging"


def test_the_example_loads() -> None:
    example = Path(__file__).parents[2] / "examples" / "tiergate.yaml"
    env = {
        "TIERGATE_ADMIN_KEY": "k" * 32,
        "TIERGATE_REGISTRY_PASSWORD": "p",
        "TIERGATE_SECRETS_MASTER_KEY": "m" * 32,
    }

    settings = load(example, {}, env)

    assert settings.gateway.domain == "db.example.com"
    assert settings.application.sql == example.parent / "application"
