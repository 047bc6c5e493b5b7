"""Secrets at rest: what one master key seals, opens and derives.

Never logs, never stores: it turns text into other text. Whoever holds the
registry's rows without the master key learns no password and no context key.
"""

import secrets
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from registry.errors import SecretUnreadable

_KEY_BYTES = 32
_PASSWORD_BYTES = 32


class Vault:
    """Seals secrets for the registry, and derives the keys that sign contexts.

    One master key, several purposes: each gets its own key, so none tells of another.

    Source:
        RFC 5869, section 3.2 "The 'info' Input to HKDF".
    """

    def __init__(self, master_key: str) -> None:
        if not master_key:
            raise ValueError("the master key is empty")
        self._master = master_key.encode()
        self._fernet = Fernet(urlsafe_b64encode(self._derive(b"tiergate seal")))

    def seal(self, secret: str) -> str:
        """*secret*, encrypted and authenticated; another text each time."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret that was sealed.

        Raises:
            SecretUnreadable: It was sealed with another master key, or was changed.
        """
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable from error

    def context_key(self, cluster: str, database: str, kid: int) -> bytes:
        """The 32 bytes that sign contexts in one database.

        Args:
            cluster: Must not hold a bar, so that no two databases can mean the same key.
            kid: Number of the key; another number is another key.
        """
        if "|" in cluster:
            raise ValueError(f"a cluster's name holds no bar: {cluster!r}")
        return self._derive(f"tiergate context|{cluster}|{database}|{kid}".encode())

    def audit_key(self, registry: str) -> bytes:
        """The 32 bytes that chain the audit of the registry of that id."""
        return self._derive(f"tiergate audit|{registry}".encode())

    def evidence_key(self, registry: str) -> bytes:
        """The 32 bytes that sign the records of moves in the registry of that id."""
        return self._derive(f"tiergate evidence|{registry}".encode())

    def fingerprint(self, registry: str) -> str:
        """What tells the registry of that id, together with this master key, from every other; no secret."""
        return self._derive(f"tiergate registry|{registry}".encode()).hex()[:32]

    def new_password(self) -> str:
        """A password of 256 random bits: 43 letters, digits, hyphens and underscores."""
        return secrets.token_urlsafe(_PASSWORD_BYTES)

    def _derive(self, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(self._master)
