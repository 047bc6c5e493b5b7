"""Looks at a server and its databases as a superuser who may only read."""

import hmac
from collections import defaultdict
from collections.abc import Iterable, Sequence

import psycopg

from fleet import roles
from fleet.access import Connection, bounded, is_outage, open_admin
from fleet.cluster import is_laid, pads
from fleet.own import own_schema
from fleet.scram import is_verifier_of
from registry.placement import Place, PlaceId
from tiergate.deadline import Deadline
from tiergate.errors import TiergateError
from verify.checks import Check, Scope, checks, queries
from verify.finding import Checked, Finding, Where, checked
from verify.meant import functions, taken_from_public
from verify.site import Site

Row = tuple[str | None, str, str]
"""Place, object, and what is wrong with it."""


async def look_at_server(site: Site, deadline: Deadline) -> list[Checked]:
    """What is about the server as a whole: roles, who may enter which database, settings."""
    database = site.cluster.database
    return await _look(site, database, Where(site.cluster.name, site.tier), deadline)


async def look_at_database(site: Site, database: str, deadline: Deadline) -> list[Checked]:
    """What is in one database with tenants' rows, and in each place there."""
    return await _look(site, database, Where(site.cluster.name, site.tier, database), deadline)


async def _look(site: Site, database: str, where: Where, deadline: Deadline) -> list[Checked]:
    is_server = where.database is None
    places = [place for place in site.places if is_server or place.database == database]
    asked = [place for place in places if place in site.asked]
    try:
        async with (
            bounded(site.access, "be looked at", deadline),
            open_admin(site.access, database, deadline) as admin,
        ):
            await admin.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
            looking = _Looking(admin, where, asked, _parameters(site, database, places))
            if is_server:
                await looking.ask(queries(Scope.SERVER))
                looking.note("login-password", await _passwords(admin, places))
            else:
                await looking.ask(queries(Scope.DATABASE, Scope.PLACE))
                await _python(looking, admin, places, site.rotating.get(database, ()))
            return looking.done
    except TiergateError as error:
        return [checked("cluster-silent", where, [Finding(database, str(error))])]


class _Looking:
    """One connection's look, and what came of it so far."""

    def __init__(
        self, admin: Connection, where: Where, asked: Sequence[Place], parameters: dict[str, object]
    ) -> None:
        self.done: list[Checked] = []
        self._admin = admin
        self._where = where
        self._asked = [place.id for place in asked]
        self._parameters = parameters

    async def ask(self, asked: Iterable[Check]) -> None:
        """Run queries; one that fails is a finding, and the others go on."""
        for check in asked:
            try:
                cursor = await self._admin.execute(check.sql.encode(), self._parameters)
                self.note(check.code, await cursor.fetchall())
            except psycopg.Error as exc:
                if is_outage(exc):
                    raise
                said = exc.diag.message_primary or str(exc)
                self.note("look-failed", [(None, check.code, said)])

    def note(self, code: str, rows: Iterable[Row]) -> None:
        """Write down what a check found: for each place, and for the rest of the database or server."""
        by_place: dict[str | None, list[Finding]] = defaultdict(list)
        for place, what, detail in rows:
            by_place[place].append(Finding(what, detail))
        whole: list[PlaceId | None] = [] if checks()[code].scope is Scope.PLACE else [None]
        for place in (*whole, *self._asked):
            if place is None or place in by_place or not whole:
                where = self._where if place is None else self._in(place)
                self.done.append(checked(code, where, by_place.get(place, ())))

    def _in(self, place: PlaceId) -> Where:
        return Where(self._where.cluster, self._where.tier, self._where.database, place)


async def _python(
    looking: _Looking, admin: Connection, places: Sequence[Place], rotating: Sequence[Place]
) -> None:
    if await is_laid(admin):
        looking.note("data-plane-changed", ())
    else:
        looking.note(
            "data-plane-changed", [(None, "schema tiergate", "it is not in the state in which it was left")]
        )
    taken: list[Row] = []
    for query in taken_from_public():
        cursor = await admin.execute(query.encode())
        taken += [(None, name, "PUBLIC may use it") for (name,) in await cursor.fetchall()]
    looking.note("catalog-open", taken)
    differs, unknown = await _keys(admin, places, rotating)
    looking.note("key-differs", differs)
    looking.note("key-unknown", unknown)


async def _keys(
    admin: Connection, places: Sequence[Place], rotating: Sequence[Place]
) -> tuple[list[Row], list[Row]]:
    cursor = await admin.execute("SELECT kid, inner_pad || outer_pad, pooled FROM tiergate.context_key")
    found: dict[int, tuple[bytes, bool]] = {
        kid: (key, pooled) for kid, key, pooled in await cursor.fetchall()
    }
    meant = {place.context_kid: (b"".join(pads(place.context_key)), place.via_pgbouncer) for place in places}
    differs: list[Row] = []
    for kid, (key, is_pooled) in meant.items():
        known = found.get(kid)
        if known is None or not hmac.compare_digest(known[0], key):
            differs.append(
                (None, f"context key {kid}", "it is missing" if known is None else "it is another")
            )
        elif known[1] and not is_pooled:
            differs.append(
                (None, f"context key {kid}", "it believes tokens as of a pooler, and there is none")
            )
    may_be = {(place.context_kid, b"".join(pads(place.context_key))) for place in rotating}
    unknown: list[Row] = [
        (None, f"context key {kid}", "the registry gives no such number")
        for kid in found.keys() - meant
        if (kid, found[kid][0]) not in may_be
    ]
    return differs, unknown


async def _passwords(admin: Connection, places: Sequence[Place]) -> list[Row]:
    cursor = await admin.execute(
        "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%s)",
        ([place.login for place in places],),
    )
    stored: dict[str, str | None] = dict(await cursor.fetchall())
    return [
        (place.id, place.login, "its password is not the registry's")
        for place in places
        if place.login in stored and not is_verifier_of(stored[place.login], place.password)
    ]


def _parameters(site: Site, database: str, places: Sequence[Place]) -> dict[str, object]:
    houses = site.houses()
    ids = {place.id for place in places}
    tenants = [tenant for tenant in site.tenants if tenant.place in ids]
    meant, own = functions(), [own_schema(place) for place in places]
    return {
        "cluster": site.cluster.name, "registry": site.access.registry, "database": database,
        "tier": site.tier.value, "group": site.group, "groups": site.groups,
        "known": list(site.known_logins), "whole": site.is_whole, "full": site.is_full,
        "settings": [f"{name}={value}" for name, value in roles.SESSION.items()],
        "house_databases": [house[0] for house in houses],
        "house_places": [house[1] for house in houses],
        "house_admitted": [house[2] for house in houses],
        "ids": [place.id for place in places], "databases": [place.database for place in places],
        "schemas": [place.schema for place in places], "own_schemas": own,
        "logins": [place.login for place in places],
        "serve": [site.group if site.group == roles.APP else place.login for place in places],
        "schemas_known": [place.schema for place in places] + own,
        "tenants": [tenant.name for tenant in tenants], "tenant_places": [tenant.place for tenant in tenants],
        "tenant_epochs": [tenant.epoch for tenant in tenants],
        "tenant_states": [tenant.state.value for tenant in tenants],
        "function_names": [each.name for each in meant], "function_bodies": [each.body for each in meant],
        "function_definers": [each.is_definer for each in meant],
        "function_volatilities": [each.volatility for each in meant],
        "function_parallels": [each.parallel for each in meant],
        "function_settings": [each.settings for each in meant],
    }  # fmt: skip
