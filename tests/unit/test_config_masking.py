"""No message and no repr shows a secret, wherever the operator put it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from config.errors import SettingsInvalid
from config.load import load
from config.settings import Settings

ENV = {"KEY": "admin-key-0123456789", "MASTER": "m" * 40, "PASSWORD": "pass-word-1"}
MINIMAL = """
admin: {key: "${env:KEY}"}
registry: {url: "postgresql://tiergate:${env:PASSWORD}@db:5432/tiergate"}
secrets: {master_key: "${env:MASTER}"}
application: {sql: .}
"""


def loaded(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Settings:
    path = folder / "tiergate.yaml"
    path.write_text(MINIMAL + text)
    return load(path, {}, env)


def test_a_value_where_a_secret_section_belongs_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "tiergate.yaml").write_text("admin:\n  key:hunter2-hunter2-hunter2\n")
    with pytest.raises(SettingsInvalid) as caught:
        load(tmp_path / "tiergate.yaml", {}, {})

    assert "hunter2" not in str(caught.value)
    assert "admin" in {each.path for each in caught.value.mistakes}


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {port: '${env:KEY}'}",
        "gateway: {domain: 'x ${env:KEY}'}",
        "gateway: {domain: '${env:KEY}.'}",
        "gateway: {domain: 'admin-key-0123456789 '}",
        "logging: {level: '${env:KEY}'}",
        "gateway: {cors_origin: 'postgresql://u:admin-key-0123456789@h'}",
        "admin-key-0123456789: 1",
        "gateway: {admin-key-0123456789: 1}",
        "identity: {jwt: [{issuer: i, audience: a, algorithms: ['${env:KEY}'], jwks_url: 'https://h'}]}",
    ],
)
def test_a_secret_in_the_wrong_place_is_still_not_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        loaded(tmp_path, text)

    assert ENV["KEY"] not in str(caught.value)


def test_a_limit_from_the_environment_is_not_quoted_by_another(tmp_path: Path) -> None:
    text = 'gateway: {request_timeout_s: "${env:WAIT}"}'

    with pytest.raises(SettingsInvalid) as caught:
        loaded(tmp_path, text, ENV | {"WAIT": "8.125"})

    assert "gateway.body_timeout_s" in {each.path for each in caught.value.mistakes}
    assert "8.125" not in str(caught.value)


def test_settings_keep_their_secrets_out_of_their_repr(tmp_path: Path) -> None:
    text = f"identity: {{jwt: [{{issuer: i, audience: a, algorithms: [HS256], secret: {'s' * 32}}}]}}"

    shown = repr(loaded(tmp_path, text))

    assert not [secret for secret in (*ENV.values(), "s" * 32) if secret in shown]


@pytest.mark.parametrize("password", ["pass-word-1", "p%40ss-word"])
def test_a_password_of_a_url_is_not_shown_elsewhere_either(password: str, tmp_path: Path) -> None:
    env = ENV | {"PASSWORD": password}

    with pytest.raises(SettingsInvalid) as caught:
        loaded(tmp_path, f"gateway: {{domain: '{password}!', cors_origin: 'p@ss-word'}}", env)

    assert password not in str(caught.value)
    assert ("p@ss-word" in str(caught.value)) is (password == "pass-word-1")


def test_a_text_as_long_as_a_secret_is_counted_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        loaded(tmp_path, "gateway: {domain: 'another-secret!!'}")

    assert "found a text of 16 characters" in str(caught.value)
