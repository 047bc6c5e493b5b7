"""What differs between two configurations, and which of it can take effect while running."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.errors import Mistake, SettingsInvalid
from config.load import broken_rules
from config.schema import SCHEMA, Node, Section, values
from config.settings import Settings
from tiergate.tenant import Tier

_TIER_GUARD = ("sql", "functions", "types", "operators", "extensions")
_TIER_LIMITS = (
    "default_pool_size", "min_pool_size", "reserve_pool_size", "reserve_pool_timeout",
    "query_wait_timeout", "max_waiting", "max_tenant_inflight", "max_tenant_waiting",
    "statement_timeout_s", "requests_per_s", "burst",
)  # fmt: skip
RELOADABLE: frozenset[str] = frozenset(
    {
        "gateway.request_timeout_s",
        "gateway.body_timeout_s",
        "gateway.max_request_bytes",
        "gateway.max_response_bytes",
        "gateway.stream_stall_s",
        "gateway.stream_timeout_s",
        "gateway.max_inflight",
        "registry.ttl_s",
        "registry.negative_ttl_s",
        "registry.stale_for_s",
        "pools.max_db_connections",
        "pools.max_db_dials",
        "pools.max_pools",
        "pools.server_idle_timeout",
        "pools.server_lifetime",
        "pools.server_connect_timeout",
        "pools.max_prepared_statements",
        *(f"pools.tiers.{tier}.{name}" for tier in Tier for name in _TIER_LIMITS),
        *(f"guard.tiers.{tier}.{name}" for tier in Tier for name in _TIER_GUARD),
        "identity.cache_s",
        "identity.jwt",
        "usage.write_every_s",
        "usage.keep_days",
        "logging.level",
        "logging.requests",
        "logging.slow_s",
        "tracing.sample_ratio",
        "tracing.statement_text",
        "tracing.sql_comment",
    }
)
"""What a running gateway takes over; a test holds it equal to the marks in `defaults.yaml`."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Dotted names of the settings that differ, as the reference orders them; all issuers are one.

    Attributes:
        applied: Take effect on reload.
        needs_restart: Take effect at the next start only.
    """

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


def changes(old: Settings, new: Settings) -> Changes:
    """What is different in *new*."""
    before, after = values(old), values(new)
    different = [path for path in before if before[path] != after[path]]
    return Changes(
        applied=tuple(path for path in different if path in RELOADABLE),
        needs_restart=tuple(path for path in different if path not in RELOADABLE),
    )


def merged(old: Settings, new: Settings) -> Settings:
    """The settings to run with now: *new*, with *old* values where a restart is needed.

    Raises:
        SettingsInvalid: The two do not fit together, as a smaller budget that must wait for fewer processes.
    """
    result: Settings = _merged(SCHEMA, old, new, "")
    mistakes = [
        Mistake(
            finding.path,
            "a value that does not fit the settings that stay until the restart",
            f"restart, or write another value: {finding.because}",
        )
        for finding in broken_rules(result)
    ]
    if mistakes:
        raise SettingsInvalid(mistakes)
    return result


def _merged(node: Node, old: Any, new: Any, path: str) -> Any:  # Any: the tree knows the types
    if not isinstance(node, Section):
        return new if path in RELOADABLE else old
    if isinstance(old, Mapping):
        return {tier: _merged(node.children[tier], old[tier], new[tier], f"{path}.{tier}") for tier in old}
    parts = {
        name: _merged(child, getattr(old, name), getattr(new, name), f"{path}.{name}" if path else name)
        for name, child in node.children.items()
    }
    return dataclasses.replace(old, **parts)
