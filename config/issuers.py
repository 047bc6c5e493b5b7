"""What must hold for the issuers whose tokens are believed."""

import os
from collections.abc import Iterator, Sequence

from config.rules import Finding, is_loopback, parsed_url
from config.settings import Jwt, Settings

_SECRET_LENGTH = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Source: RFC 7518, section 3.2: a key of at least the hash's size."""
_PUBLIC = ("-----BEGIN ", "ssh-", "ecdsa-", "{")


def issuers_can_be_believed(settings: Settings) -> Iterator[Finding]:
    """Every issuer has one kind of algorithm and exactly the keys for it, and none stands there twice."""
    seen: dict[str, int] = {}
    for index, jwt in enumerate(settings.identity.jwt):
        at = f"identity.jwt[{index}]"
        yield from _keys_match_algorithms(jwt, at)
        yield from _places_exist(jwt, at)
        if jwt.issuer in seen:
            first = f"identity.jwt[{seen[jwt.issuer]}].issuer"
            yield Finding(
                f"{at}.issuer", "another issuer, or remove the entry", f"{first} is the same", (first,)
            )
        seen.setdefault(jwt.issuer, index)


def _keys_match_algorithms(jwt: Jwt, at: str) -> Iterator[Finding]:
    shared = [each for each in jwt.algorithms if each in _SECRET_LENGTH]
    algorithms, secret, file, url = (
        f"{at}.{name}" for name in ("algorithms", "secret", "jwks_file", "jwks_url")
    )
    if shared and len(shared) < len(jwt.algorithms):
        because = "with both kinds, a public key could pass for a shared secret"
        yield Finding(algorithms, "either HS… algorithms or the others", because)
        return
    sets = [path for path, value in ((file, jwt.jwks_file), (url, jwt.jwks_url)) if value is not None]
    if shared:
        for path in sets:
            because = "HS… algorithms take a shared secret; a public key in its place would let anyone sign"
            yield Finding(path, "null", because, (algorithms,))
        yield from _secret_is_strong(jwt, shared, algorithms, secret)
        return
    if jwt.secret is not None:
        yield Finding(secret, "null", "these algorithms take a key set, not a shared secret", (algorithms,))
    if not sets:
        yield Finding(
            file, "a file of keys, or a URL in jwks_url", "these algorithms need a key set", (url, algorithms)
        )
    elif len(sets) > 1:
        yield Finding(url, "null", "jwks_file gives the key set already", (file,))


def _secret_is_strong(jwt: Jwt, shared: Sequence[str], algorithms: str, secret: str) -> Iterator[Finding]:
    needed = max(_SECRET_LENGTH[each] for each in shared)
    if jwt.secret is None:
        yield Finding(
            secret, "the shared secret, as ${env:NAME} or ${file:/path}", "HS… needs one", (algorithms,)
        )
    elif jwt.secret.startswith(_PUBLIC):
        yield Finding(secret, "a shared secret", "this is a key file, and anyone may know a public key")
    elif len(jwt.secret.encode()) < needed:
        because = "a shared secret must be as long as the algorithm's hash"
        yield Finding(secret, f"at least {needed} bytes", because, (algorithms,))


def _places_exist(jwt: Jwt, at: str) -> Iterator[Finding]:
    if jwt.jwks_file is not None and not os.path.isfile(jwt.jwks_file):  # noqa: PTH113 - Path.is_file raises
        yield Finding(f"{at}.jwks_file", "the path of a JWKS file", "there is no such file")
    if jwt.jwks_url is None:
        return
    parts = parsed_url(jwt.jwks_url)
    if parts is None or not parts.hostname or parts.scheme not in {"https", "http"}:
        yield Finding(f"{at}.jwks_url", "https://…", "it must be a URL with a host")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield Finding(f"{at}.jwks_url", "https://…", "keys that came over http may be anyone's")
