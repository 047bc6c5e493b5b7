"""What the master key seals and derives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import SecretUnreadable
from registry.vault import Vault

VAULT = Vault("a master key of the tests")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_was_sealed_opens_again(secret: str) -> None:
    assert VAULT.open(VAULT.seal(secret)) == secret


def test_a_sealed_secret_shows_nothing_and_looks_different_each_time() -> None:
    sealed = {VAULT.seal("open sesame") for _ in range(10)}

    assert len(sealed) == 10
    assert not any("sesame" in text for text in sealed)


def test_another_master_key_opens_nothing() -> None:
    sealed = VAULT.seal("open sesame")

    with pytest.raises(SecretUnreadable):
        Vault("another master key").open(sealed)


def test_a_sealed_secret_that_was_changed_does_not_open() -> None:
    sealed = VAULT.seal("open sesame")

    for spoiled in (sealed[:-3] + "AA=", sealed[:20], "", "é"):
        with pytest.raises(SecretUnreadable):
            VAULT.open(spoiled)


def test_a_context_key_is_32_bytes_and_the_same_in_every_gateway() -> None:
    key = VAULT.context_key("standard-1", "app", 1)

    assert len(key) == 32
    assert Vault("a master key of the tests").context_key("standard-1", "app", 1) == key


def test_each_database_number_and_master_key_has_a_context_key_of_its_own() -> None:
    keys = {
        VAULT.context_key("standard-1", "app", 1),
        VAULT.context_key("standard-2", "app", 1),
        VAULT.context_key("standard-1", "other", 1),
        VAULT.context_key("standard-1", "app", 2),
        Vault("another master key").context_key("standard-1", "app", 1),
    }

    assert len(keys) == 5


def test_no_two_databases_can_mean_the_same_context_key() -> None:
    with pytest.raises(ValueError, match="bar"):
        VAULT.context_key("a|b", "c", 1)


def test_passwords_are_random_and_need_no_quoting() -> None:
    passwords = {VAULT.new_password() for _ in range(100)}

    assert len(passwords) == 100
    assert all(
        len(password) == 43 and password.replace("-", "").replace("_", "").isalnum() for password in passwords
    )


def test_an_empty_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Vault("")
