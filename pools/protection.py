"""Whether the tables that tenants share are under the rule, as far as this process knows.

The rule is the database's, and a mistake may take it off: a policy dropped, row-level security switched
off. So the database is asked when a connection opens and, on one that comes back from work, every ten
seconds; never on a request's way.
"""

import asyncio

from psycopg import pq

from pools.errors import ConnectionLost, PlaceUnprotected
from pools.wire import Wire
from registry.placement import Place
from tiergate.events import Emit, ProtectionLost
from tiergate.tenant import Tier

_ASK_EVERY_S = 10.0
_SMALL_BYTES = 65536
# What `fleet.application` makes, seen by the role that requests there work as, so that BYPASSRLS shows as
# well. The wall is the restrictive policy: whatever other policies there are, they let no more through.
#
# Nothing here waits for a lock, as pg_get_expr does for its table's: a long ALTER TABLE must not keep
# connections from opening. So policies are compared by the form in which Postgres keeps them.
_QUESTION = b"""
SELECT relname, CASE
    WHEN relkind IN ('m', 'f') THEN 'row-level security does not reach into it'
    WHEN relkind = 'v' THEN 'it is a view without security_invoker'
    WHEN NOT row_security_active(c.oid) OR NOT relforcerowsecurity THEN 'row-level security is not forced'
    ELSE 'policy tiergate_tenant is missing or was changed' END
FROM pg_catalog.pg_class AS c
WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1)
    AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(c.oid, 'DELETE'))
    AND NOT CASE
        WHEN relkind = 'v' THEN coalesce(
            reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
        WHEN relkind IN ('r', 'p') THEN row_security_active(c.oid) AND relforcerowsecurity AND EXISTS (
            SELECT FROM pg_catalog.pg_policy JOIN pg_catalog.pg_attribute ON attrelid = polrelid,
                LATERAL (SELECT format($2, attnum, 'tiergate.tenant()'::regprocedure::oid) AS rule) AS meant
            WHERE polrelid = c.oid AND polname = 'tiergate_tenant' AND attname = 'tenant_id'
                AND NOT polpermissive AND polcmd = '*' AND polroles = '{0}'
                AND polqual::text ~ rule AND polwithcheck::text ~ rule)
        ELSE false END
ORDER BY 1 LIMIT 1
"""
# tenant_id = (SELECT tiergate.tenant()), and nothing else: a pattern for the nodes, whatever a version adds
# to one of them. 98 is the equality of texts.
_RULE = (
    (
        rb"^{OPEXPR :opno 98 [^{}]*:args \({VAR :varno 1 :varattno %s [^{}]*:varlevelsup 0 [^{}]*}"
        rb" {SUBLINK :subLinkType 4 [^{}]*:subselect {QUERY :commandType 1 [^{}]*"
        rb":jointree {FROMEXPR :fromlist <> :quals <>}[^{}]*"
        rb":targetList \({TARGETENTRY :expr {FUNCEXPR :funcid %s [^{}]*}[^{}]*}\)[^{}]*}[^{}]*}\)[^{}]*}$"
    )
    .replace(b"{", rb"\{")
    .replace(b"[^\\{}]", b"[^{}]")
)


class Protection:
    """What is known of one place. A place that one tenant has alone is not asked for."""

    def __init__(self, place: Place, emit: Emit) -> None:
        self._place = place
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._loop.time()

    @property
    def is_due(self) -> bool:
        """Whether the last answer is ten seconds old."""
        return self._place.tier is Tier.STANDARD and self._loop.time() - self._asked_at >= _ASK_EVERY_S

    async def check(self, wire: Wire) -> None:
        """Ask the database; one round trip on *wire*.

        Raises:
            PlaceUnprotected: Something is open to every tenant there.
            ConnectionLost: As `Wire.fly`, or the database did not answer the question.
        """
        place = self._place
        if place.tier is not Tier.STANDARD:
            return
        self._asked_at = self._loop.time()  # nobody else need ask meanwhile
        wire.ask(b"BEGIN READ ONLY")
        wire.ask(b"SET LOCAL ROLE tiergate_app")
        wire.ask(_QUESTION, [place.schema.encode(), _RULE])
        wire.ask(b"COMMIT")
        _, _, [answer], _ = await wire.fly(max_bytes=_SMALL_BYTES)
        if answer.status != pq.ExecStatus.TUPLES_OK:
            wire.broken = True
            raise ConnectionLost(answer.get_error_message().strip())
        if answer.ntuples:
            table, why = answer.get_value(0, 0) or b"", answer.get_value(0, 1) or b""
            reason = f"{table.decode()}: {why.decode()}"
            self._emit(ProtectionLost(place.id, place.cluster, place.tier, reason))
            raise PlaceUnprotected(place.cluster, place.id, reason)
