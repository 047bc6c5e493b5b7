"""Password verifiers made here are those that Postgres would make, and no password reaches a server's log."""

import base64
import hashlib
import hmac

import psycopg
import pytest

from fleet.application import read_application
from fleet.provision import Provisioner
from fleet.scram import is_verifier_of, verifier
from tests.integration.test_fleet_door import EXAMPLES, access_of, login_of, shared_place, soon
from tests.support.postgres import open_test_cluster
from tiergate.tenant import Tier


def test_a_verifier_answers_the_example_of_the_rfc() -> None:
    """Source: RFC 7677, section 3: user "user", password "pencil"."""
    salt, nonce = "W22ZaJ0SNY7soEsUEjb6gQ==", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s={salt},i=4096,c=biws,r={nonce}"

    made = verifier("pencil", salt=base64.b64decode(salt), iterations=4096)

    server_key = base64.b64decode(made.rpartition(":")[2])
    signature = hmac.digest(server_key, said.encode(), "sha256")
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_stored_key_is_the_hash_of_what_the_client_proves() -> None:
    """Source: RFC 5802, section 3."""
    made = verifier("secret", salt=b"0123456789abcdef", iterations=2)

    salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"0123456789abcdef", 2)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = base64.b64decode(made.split("$")[2].split(":")[0])
    assert stored_key == hashlib.sha256(client_key).digest()


def test_two_verifiers_of_one_password_differ_in_salt() -> None:
    assert verifier("secret") != verifier("secret")


@pytest.mark.parametrize("stored", [None, "", "md5" + "0" * 32, verifier("another")])
def test_what_is_stored_for_another_password_is_told_apart(stored: str | None) -> None:
    assert not is_verifier_of(stored, "secret")
    assert is_verifier_of(verifier("secret"), "secret")


async def test_no_password_reaches_the_log_of_a_server_that_logs_every_statement() -> None:
    async with open_test_cluster(log_statement="all") as server:
        access = access_of(server.conninfo())
        place = shared_place(access)
        provisioner = Provisioner(read_application(EXAMPLES / "application"))

        await provisioner.prepare_cluster(access, Tier.STANDARD, soon(), shared=place)

        async with await psycopg.AsyncConnection.connect(login_of(place)):
            log = server.log.read_text(encoding="utf-8")
        assert f'CREATE ROLE "{place.login}"' in log
        assert place.password not in log
