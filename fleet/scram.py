"""Password verifiers, computed here so that no password is ever in a statement or a server's log."""

import base64
import hashlib
import hmac
import secrets

# Stretching slows down guessing; our passwords are 256 random bits, which nobody guesses. Each
# round is paid by the gateway at every dial, inside libpq, while its event loop stands still:
# 4.4 ms at 4,096 rounds, 1.8 ms at 1,024, 1.3 ms at 256, 0.9 ms at 1 (PostgreSQL 18, loopback).
ITERATIONS = 256


def verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What Postgres stores for *password*.

    Not for passwords that people choose: those need the usual 4,096 rounds.

    Args:
        password: ASCII, so that SASLprep leaves it as it is.
        salt: Fresh random bytes unless given.

    Source:
        RFC 5802, section 3 (StoredKey, ServerKey); RFC 7677; PostgreSQL 18, 52.8 "pg_authid".
    """
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored)}:{_base64(server)}"


def is_verifier_of(stored: str | None, password: str) -> bool:
    """Whether *stored*, as read from pg_authid, lets *password* in."""
    match (stored or "").split("$"):
        case ["SCRAM-SHA-256", rounds_and_salt, _keys]:
            rounds, salt = rounds_and_salt.split(":")
            again = verifier(password, salt=base64.b64decode(salt), iterations=int(rounds))
            return hmac.compare_digest(again, stored or "")
        case _:
            return False


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
