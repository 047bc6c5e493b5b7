"""What settings of the right type must still hold: limits that fit together, names that mean something.

A rule looks at checked settings and yields findings. It says which settings it
read, so that nobody is told off for a value that stood in for a wrong one, and
so that a value from `${…}` is never quoted.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from config.settings import Settings
from tiergate.tenant import Tier

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_TAKEN = re.compile(r"pg_|pl_|tiergate|information_schema$")
_POSTGRES = {"postgresql", "postgres", "postgresql+asyncpg"}
_KEY_LENGTH_OFF_LOOPBACK = 32


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that does not hold.

    Attributes:
        path: The setting to change.
        write: What to write; may quote the values of *reads*.
        because: The rule itself; quotes no value.
        reads: Other settings that the rule looked at.
    """

    path: str
    write: str
    because: str
    reads: tuple[str, ...] = ()


Rule = Callable[[Settings], Iterator[Finding]]


def is_loopback(host: str) -> bool:
    """Whether *host* can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_dns_name(text: str) -> bool:
    """Whether *text* is a DNS name and cannot be taken for an IP address.

    Source:
        RFC 1123, section 2.1; RFC 3696, section 2 (the last label is not all digits).
    """
    labels = text.split(".")
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_host(text: str) -> bool:
    """Whether *text* is an IP address or a host name, without a port."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return is_dns_name(text)
    return True


def parsed_url(text: str) -> SplitResult | None:
    """The parts of *text*; None when it is no URL at all."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises when it is no port
    except ValueError:
        return None
    return parts if parts.scheme else None


def budget_is_enough(settings: Settings) -> Iterator[Finding]:
    """Each process gets an equal share of a cluster's connections; a pool must fit into it."""
    total, processes = "pools.max_db_connections", "gateway.processes"
    share = settings.pools.max_db_connections // settings.gateway.processes
    if share < 1:
        least = settings.gateway.processes
        yield Finding(
            total, f"at least {least}", f"every one of {processes} needs a connection", (processes,)
        )
        return
    for tier, limits in settings.pools.tiers.items():
        if limits.default_pool_size > share:
            because = f"a pool must fit into one process's share, {total} divided by {processes}"
            path = f"pools.tiers.{tier}.default_pool_size"
            yield Finding(path, f"at most {share}", because, (total, processes))
        if limits.min_pool_size > limits.default_pool_size:
            size = f"pools.tiers.{tier}.default_pool_size"
            path = f"pools.tiers.{tier}.min_pool_size"
            yield Finding(path, f"at most {limits.default_pool_size}", f"a pool has {size} at most", (size,))


def waits_fit_into_what_holds_them(settings: Settings) -> Iterator[Finding]:
    """A limit inside a longer one; the other way round it would never be reached."""
    request = ("gateway.request_timeout_s", settings.gateway.request_timeout_s)
    pools = settings.pools
    strict = [("registry.timeout_s", settings.registry.timeout_s, *request)]
    loose = [
        ("gateway.body_timeout_s", settings.gateway.body_timeout_s, *request),
        ("pools.server_connect_timeout", pools.server_connect_timeout, *request),
        (
            "pools.server_idle_timeout",
            pools.server_idle_timeout,
            "pools.server_lifetime",
            pools.server_lifetime,
        ),
        (
            "registry.negative_ttl_s",
            settings.registry.negative_ttl_s,
            "registry.ttl_s",
            settings.registry.ttl_s,
        ),
    ]
    for tier, limits in pools.tiers.items():
        wait = (f"pools.tiers.{tier}.query_wait_timeout", limits.query_wait_timeout)
        strict.append((*wait, *request))
        if limits.reserve_pool_size:
            strict.append((f"pools.tiers.{tier}.reserve_pool_timeout", limits.reserve_pool_timeout, *wait))
        loose.append((f"pools.tiers.{tier}.statement_timeout_s", limits.statement_timeout_s, *request))
    for path, inner, around, outer in strict:
        if inner >= outer:
            yield Finding(path, f"less than {outer:g}", f"it must end before {around}", (around,))
    for path, inner, around, outer in loose:
        if inner > outer:
            yield Finding(path, f"at most {outer:g}", f"beyond {around} it would never be reached", (around,))


def ports_differ(settings: Settings) -> Iterator[Finding]:
    """Tenants and operators never share an address."""
    if settings.gateway.port == settings.admin.port:
        yield Finding("admin.port", "another port", "gateway.port has this one", ("gateway.port",))


def hosts_are_addresses(settings: Settings) -> Iterator[Finding]:
    """What is listened on is an IP address or a host name."""
    for path, host in (("gateway.host", settings.gateway.host), ("admin.host", settings.admin.host)):
        if not is_host(host):
            because = "it must be one address, without a port"
            yield Finding(path, "127.0.0.1, 0.0.0.0, ::1 or a host name", because)


def an_open_admin_port_has_a_long_key(settings: Settings) -> Iterator[Finding]:
    """Beyond loopback the key is all that stands before the operators' powers."""
    length = _KEY_LENGTH_OFF_LOOPBACK
    if not is_loopback(settings.admin.host) and len(settings.admin.key) < length:
        because = "admin.host is not loopback, so others can try keys"
        yield Finding("admin.key", f"at least {length} characters", because, ("admin.host",))


def secrets_differ(settings: Settings) -> Iterator[Finding]:
    """Who may call the admin API must not thereby hold the key to every password, or to every tenant."""
    known = (
        ("secrets.master_key", settings.secrets.master_key),
        ("admin.key", settings.admin.key),
        ("admin.cross_tenant_key", settings.admin.cross_tenant_key),
    )
    for at, (path, value) in enumerate(known):
        for other, its in known[:at]:
            if value is not None and value == its:
                yield Finding(path, "a secret of its own", f"{other} is the same text", (other,))


def domain_is_a_name(settings: Settings) -> Iterator[Finding]:
    """Tenants' subdomains hang below it."""
    domain = settings.gateway.domain
    if domain is not None and (not is_dns_name(domain) or domain != domain.lower()):
        because = "it must be a DNS name in lower case, without wildcard, port or final dot"
        yield Finding("gateway.domain", "a name such as db.example.com", because)


def cors_origin_is_an_origin(settings: Settings) -> Iterator[Finding]:
    """One origin, or all of them."""
    origin = settings.gateway.cors_origin
    if origin is None or origin == "*":
        return
    parts = parsed_url(origin)
    whole = parts is not None and origin == f"{parts.scheme}://{parts.netloc}" and "@" not in origin
    if (
        parts is None
        or not whole
        or parts.scheme not in {"http", "https"}
        or not is_host(parts.hostname or "")
    ):
        because = "an origin has a scheme, a host and perhaps a port, and nothing after them"
        yield Finding(
            "gateway.cors_origin", 'one such as https://app.example.com, or "*" (with quotes)', because
        )


def registry_url_names_a_database(settings: Settings) -> Iterator[Finding]:
    """The registry is a database in Postgres, reached by host or by socket folder."""
    parts = parsed_url(settings.registry.url)
    named = parts is not None and parts.scheme in _POSTGRES and len(parts.path) > 1
    if parts is None or not named or not (parts.hostname or "host" in parse_qs(parts.query)):
        because = (
            "it must name a host (or ?host=/socket/folder) and a database, special characters percent-encoded"
        )
        yield Finding("registry.url", "postgresql://user:password@host:5432/database", because)


def shared_tables_are_guarded(settings: Settings) -> Iterator[Finding]:
    """Where tenants share tables and connections, no statement goes unread."""
    if settings.guard.tiers[Tier.STANDARD].sql == "full":
        because = "standard tenants share tables and connections"
        yield Finding(f"guard.tiers.{Tier.STANDARD}.sql", "guarded", because)


def schema_is_plain(settings: Settings) -> Iterator[Finding]:
    """The schema's name needs no quoting and belongs to nobody else."""
    schema = settings.application.schema
    if not _IDENTIFIER.fullmatch(schema) or _TAKEN.match(schema):
        because = (
            "lower-case letters, digits and _ only; pg_…, pl_…, tiergate… and information_schema are taken"
        )
        yield Finding("application.schema", "a name such as app", because)


def application_is_there(settings: Settings) -> Iterator[Finding]:
    """Without its tables no tenant can be made."""
    if not os.path.isdir(settings.application.sql):  # noqa: PTH112 - Path.is_dir raises for impossible names
        yield Finding("application.sql", "the path of a folder of *.sql files", "there is no such folder")


RULES: tuple[Rule, ...] = (
    budget_is_enough,
    waits_fit_into_what_holds_them,
    ports_differ,
    hosts_are_addresses,
    an_open_admin_port_has_a_long_key,
    secrets_differ,
    domain_is_a_name,
    cors_origin_is_an_origin,
    registry_url_names_a_database,
    shared_tables_are_guarded,
    schema_is_plain,
    application_is_there,
)
