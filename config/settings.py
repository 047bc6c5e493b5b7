"""What the operator wrote, as frozen values that mirror the YAML.

Every setting is explained, with its default, in `config/defaults.yaml`; the
names and the nesting here and there are the same, and a test holds them equal.
Limits carry PgBouncer's own names; they are in seconds where they are times.

Bounds stand in the types. A field kept out of the repr is a secret: its value
never appears in a message either.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tiergate.tenant import Tier

Port = Annotated[int, Field(ge=1, le=65_535)]
Processes = Annotated[int, Field(ge=1, le=256)]
Connections = Annotated[int, Field(ge=1, le=10_000)]
Pieces = Annotated[int, Field(ge=1, le=10_000_000)]
MaybeNone = Annotated[int, Field(ge=0, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1_024, le=1_073_741_824)]
Wait = Annotated[float, Field(ge=0.01, le=3_600)]
Stall = Annotated[float, Field(ge=0.01, le=15)]
Life = Annotated[float, Field(ge=0.01, le=604_800)]
Age = Annotated[float, Field(ge=0, le=86_400)]
Name = Annotated[str, Field(min_length=1, max_length=253)]
Domain = Annotated[str, Field(min_length=1, max_length=189)]  # a DNS name has 253; a tenant's label takes 64
Text = Annotated[str, Field(min_length=1, max_length=2_048)]
AdminKey = Annotated[str, Field(min_length=16, max_length=1_024)]
Secret = Annotated[str, Field(min_length=32, max_length=1_024)]
Names = Annotated[tuple[str, ...], Field(max_length=100)]
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gateway:
    """The address that upstream services call, and what one request may cost."""

    host: Name
    port: Port
    processes: Processes
    domain: Domain | None
    request_timeout_s: Wait
    body_timeout_s: Wait
    max_request_bytes: Bytes
    max_response_bytes: Bytes
    stream_stall_s: Stall
    stream_timeout_s: Wait
    max_inflight: Pieces
    drain_timeout_s: Age
    cors_origin: Text | None


@dataclass(frozen=True, slots=True)
class Admin:
    """The operators' address: admin API, metrics and health."""

    host: Name
    port: Port
    key: AdminKey = field(repr=False)
    cross_tenant_key: Secret | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry's database, and how long its answers are believed."""

    url: Text = field(repr=False)
    pool_size: Connections
    timeout_s: Wait
    cache_size: Pieces
    ttl_s: Life
    negative_ttl_s: Age
    stale_for_s: Age


@dataclass(frozen=True, slots=True)
class Secrets:
    """What unlocks the secrets that the registry keeps."""

    master_key: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class TierLimits:
    """What one pool of a tier, and one request in it, may use."""

    default_pool_size: Connections
    min_pool_size: MaybeNone
    reserve_pool_size: MaybeNone
    reserve_pool_timeout: Wait
    query_wait_timeout: Wait
    max_waiting: MaybeNone
    max_tenant_inflight: Connections
    max_tenant_waiting: MaybeNone
    statement_timeout_s: Wait
    requests_per_s: Annotated[float, Field(ge=0.01, le=1_000_000)] | None
    burst: Pieces


@dataclass(frozen=True, slots=True)
class Pools:
    """Server connections, per cluster and for the whole gateway (all processes together)."""

    max_db_connections: Connections
    max_db_dials: Connections
    max_pools: Connections
    server_idle_timeout: Life
    server_lifetime: Life
    server_connect_timeout: Wait
    max_prepared_statements: MaybeNone
    tiers: dict[Tier, TierLimits]


@dataclass(frozen=True, slots=True)
class TierGuard:
    """What the statements of one tier may say, besides what every statement may."""

    sql: Literal["guarded", "full"]
    functions: Names
    types: Names
    operators: Names
    extensions: Names


@dataclass(frozen=True, slots=True)
class Guard:
    """What is let through to the databases."""

    tiers: dict[Tier, TierGuard]


@dataclass(frozen=True, slots=True)
class Jwt:
    """One issuer whose tokens are believed."""

    issuer: Text
    audience: Text
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, max_length=13)]
    tenant_claim: Name
    scope_claim: Name
    leeway_s: Annotated[float, Field(ge=0, le=600)]
    jwks_file: Path | None
    jwks_url: Text | None
    jwks_ttl_s: Annotated[float, Field(ge=1, le=86_400)]
    secret: Secret | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may call, and for how long an answer to that question is kept."""

    cache_s: Age
    jwt: tuple[Jwt, ...]


@dataclass(frozen=True, slots=True)
class Application:
    """The tables that every tenant has, the same on every tier."""

    sql: Path
    schema: Annotated[str, Field(min_length=1, max_length=63)]


@dataclass(frozen=True, slots=True)
class Logging:
    """What is written to standard error, one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"]
    requests: Literal["none", "failed", "all"]
    slow_s: Age


@dataclass(frozen=True, slots=True)
class Usage:
    """What is written down of what tenants use."""

    write_every_s: Annotated[float, Field(ge=1, le=60)]
    keep_days: Annotated[int, Field(ge=1, le=36_500)]


@dataclass(frozen=True, slots=True)
class Tracing:
    """Which requests are recorded as traces, and who gets them."""

    endpoint: Text | None
    sample_ratio: Annotated[float, Field(ge=0, le=1)]
    statement_text: Literal["none", "normalised", "whole"]
    sql_comment: Literal["none", "sampled"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator may set."""

    gateway: Gateway
    admin: Admin
    registry: Registry
    secrets: Secrets
    pools: Pools
    guard: Guard
    identity: Identity
    application: Application
    usage: Usage
    logging: Logging
    tracing: Tracing
