"""What tenants have used: added to by every process, in steps that can be repeated."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    RowMapping,
    cast,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
)

from observe.meter import Used
from registry.rows.asking import Asking, rows
from registry.tables import SCHEMA, USAGE, USAGE_SUMS, USAGE_WRITER
from registry.usage import Mark, Period, Usage, Wanted
from tiergate.tenant import TenantId, Tier

_FORGET_ROWS = 5000
_FORGET_WRITERS = timedelta(days=30)
_ROW = USAGE.c

# One statement, so one transaction: the number and the rows are there both or not at all. Whoever repeats
# one that is under way waits at the writer's row, and then finds its number there. In the order of the key,
# so that two gateways never wait for each other.
_ADDED = ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in USAGE_SUMS)
_WRITE = text(f"""
WITH known AS MATERIALIZED (SELECT sequence FROM {SCHEMA}.usage_writer WHERE process = :process),
new AS (
    INSERT INTO {SCHEMA}.usage_writer AS writer (process, sequence)
    SELECT :process, cast(:sequence AS bigint)
    WHERE cast(:sequence AS bigint) = 1 OR EXISTS (SELECT FROM known)
    ON CONFLICT (process) DO UPDATE SET sequence = excluded.sequence, seen_at = now()
    WHERE writer.sequence < excluded.sequence
    RETURNING 1
),
added AS (
    INSERT INTO {SCHEMA}.usage AS usage (tenant, tier, hour, {", ".join(USAGE_SUMS)})
    SELECT tenant, tier, to_timestamp(hour_s), {", ".join(f"used.{name}" for name in USAGE_SUMS)}
    FROM new, unnest(
        cast(:tenant AS text[]), cast(:tier AS text[]), cast(:hour_s AS float8[]),
        {", ".join(f"cast(:{name} AS bigint[])" for name in USAGE_SUMS)}
    ) AS used (tenant, tier, hour_s, {", ".join(USAGE_SUMS)})
    ORDER BY tenant, hour_s, tier
    ON CONFLICT (tenant, hour, tier) DO UPDATE SET {_ADDED}
)
SELECT cast(:sequence AS bigint) = 1 OR EXISTS (SELECT FROM known)
""")  # noqa: S608 - constants


class UsageBooks(Asking):
    """What tenants have used."""

    async def write_usage(self, process: str, sequence: int, used: Sequence[Used]) -> bool:
        """Add what *process* has counted, unless it has written its batch of that number before.

        Returns:
            False when it is not known any more what this process has written: nothing was added.
        """
        columns = {
            name: [getattr(each, name) for each in used] for name in ("tenant", "tier", "hour_s", *USAGE_SUMS)
        }
        columns["hour_s"] = [float(each.hour_s) for each in used]
        said = {"process": process, "sequence": sequence, **columns}
        async with self._reading() as connection:  # one statement: its own transaction
            return bool((await connection.execute(_WRITE, said)).scalar_one())

    async def usage(self, wanted: Wanted, *, limit: int) -> list[Usage]:
        """The first rows of what is meant, by tenant, period and tier."""
        period = _period(wanted.by)
        sums = [cast(func.sum(_ROW[name]), BigInteger).label(name) for name in USAGE_SUMS]
        storage = cast(func.round(func.avg(_ROW.storage_bytes)), BigInteger).label("storage_bytes")
        asked = select(_ROW.tenant, period.label("period"), _ROW.tier, *sums, storage)
        for condition in _conditions(wanted, period):
            asked = asked.where(condition)
        asked = asked.group_by(_ROW.tenant, period, _ROW.tier).order_by(_ROW.tenant, period, _ROW.tier)
        async with self._reading() as connection:
            return [_usage(found) for found in await rows(connection, asked.limit(limit))]

    async def forget_usage(self, *, keep_days: int) -> int:
        """Remove what is older; how many rows. A few thousand at a time, so that nobody waits for it."""
        before = datetime.now(UTC) - timedelta(days=keep_days)
        old = select(_ROW.tenant, _ROW.hour, _ROW.tier).where(_ROW.hour < before).limit(_FORGET_ROWS)
        forgetting = delete(USAGE).where(tuple_(_ROW.tenant, _ROW.hour, _ROW.tier).in_(old))
        count = 0
        while True:
            async with self._reading() as connection:
                forgotten = (await connection.execute(forgetting)).rowcount
            count += forgotten
            if forgotten < _FORGET_ROWS:
                break
        silent = USAGE_WRITER.c.seen_at < func.now() - _FORGET_WRITERS
        async with self._reading() as connection:
            await connection.execute(delete(USAGE_WRITER).where(silent))
        return count


def _period(by: Period) -> ColumnElement[datetime]:
    return _ROW.hour if by is Period.HOUR else func.date_trunc(text(f"'{by}'"), _ROW.hour, text("'UTC'"))


def _conditions(wanted: Wanted, period: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.tenant is not None:
        found.append(_ROW.tenant == wanted.tenant)
    if wanted.tier is not None:
        found.append(_ROW.tier == wanted.tier)
    if wanted.since is not None:
        found.append(_ROW.hour >= wanted.since)
    if wanted.until is not None:
        found.append(_ROW.hour < wanted.until)
    if (after := wanted.after) is not None:
        mark = tuple_(literal(after.tenant), literal(after.period), literal(str(after.tier)))
        # The first is for the index: the page begins with the tenant that the last one ended with.
        found += [_ROW.tenant >= after.tenant, tuple_(_ROW.tenant, period, _ROW.tier) > mark]
    return found


def _usage(found: RowMapping) -> Usage:
    return Usage(
        Mark(TenantId(found["tenant"]), found["period"], Tier(found["tier"])),
        storage_bytes=found["storage_bytes"],
        **{name: found[name] for name in USAGE_SUMS},
    )
