"""Who callers are, as the settings have it."""

from config.settings import Settings
from registry.credentials import Keys
from router.identify import Identifier
from router.jwt import Tokens


def identifier(settings: Settings, keys: Keys) -> Identifier:
    """Tells callers by keys and by the tokens of the configured issuers."""
    tokens = Tokens(settings.identity.jwt, cache_s=settings.identity.cache_s)
    return Identifier(keys, tokens, domain=settings.gateway.domain)
