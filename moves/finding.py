"""What can stand in a move's way: every kind with its code, its weight and its cure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that is looked for before a move.

    Attributes:
        forbids: Whether the move is refused; else it is only told.
        cure: What to do about it.
    """

    forbids: bool
    cure: str


KINDS = {
    "fence": Kind(
        forbids=True,
        cure="The fence is the authority: compare it with `tiergate tenant show`, and see whether a"
        " move or a restore was cut short.",
    ),
    "same-database": Kind(
        forbids=True,
        cure="Give the clusters databases of their own; a move leads from one to another.",
    ),
    "standby": Kind(
        forbids=True,
        cure="Tell the cluster where its primary is: `tiergate cluster set-address`.",
    ),
    "server-older": Kind(
        forbids=True,
        cure="Upgrade the target's server to the source's major version or a later one.",
    ),
    "server-newer": Kind(
        forbids=False,
        cure="It moves there and back; a later move the other way is refused, until the source's"
        " server is upgraded as well.",
    ),
    "locale": Kind(
        forbids=False,
        cure="Rows stay what they are, but ORDER BY, LIKE and upper() of text may answer otherwise."
        ' Where that matters, write COLLATE "C" or one named collation in the SQL files.',
    ),
    "application": Kind(
        forbids=True,
        cure="Bring every place and the gateway's application.sql to the same SQL files, then ask again.",
    ),
    "structure": Kind(
        forbids=True,
        cure="Somebody changed tables by hand. Undo it, or bring both places to the same SQL files.",
    ),
    "no-primary-key": Kind(forbids=True, cure="Add PRIMARY KEY (tenant_id, …): rows are followed by it."),
    "no-tenant-column": Kind(
        forbids=True,
        cure="Add tenant_id text NOT NULL, then SELECT tiergate.protect('TABLE').",
    ),
    "inherited": Kind(
        forbids=True,
        cure="Make it a partition or a table of its own: INHERITS is not followed.",
    ),
    "outside-key": Kind(
        forbids=True,
        cure="Drop the foreign key, or bring both tables into the application's schema.",
    ),
    "unlogged": Kind(
        forbids=False,
        cure="ALTER TABLE … SET LOGGED, or live with a table that a crash empties.",
    ),
    "always-fires": Kind(
        forbids=True,
        cure="It would run for every row that is copied. ALTER TABLE … ENABLE TRIGGER (or RULE)"
        " without ALWAYS or REPLICA: an ordinary one stays silent for the copy.",
    ),
    "runs-text": Kind(
        forbids=True,
        cure="The mover is a superuser, in whose name a row's text would run. Write the rule without EXECUTE,"
        " or as a trigger of the ordinary kind, which stays silent for the copy.",
    ),
    "large-objects": Kind(
        forbids=True,
        cure="Large objects do not move. Put them into bytea columns, then lo_unlink() them.",
    ),
    "own-objects": Kind(
        forbids=True,
        cure="What a tenant made by itself (`sql: full`) does not move. Have it dropped, or dump it"
        " and bring it over by hand after the move.",
    ),
    "other-objects": Kind(
        forbids=True,
        cure="Only the application's tables move. Bring the rest over by hand and drop it, or leave"
        " the tenant.",
    ),
    "extensions": Kind(
        forbids=True,
        cure="CREATE EXTENSION in the target's database. A government tenant's is made from"
        " template0, which has none: such tables cannot be there.",
    ),
    "extension-version": Kind(forbids=False, cure="ALTER EXTENSION … UPDATE at the older end."),
    "publications": Kind(
        forbids=False,
        cure="Who subscribes hears no more of the tenant after the cut-over: subscribe at the target.",
    ),
    "prepared-transactions": Kind(
        forbids=True,
        cure="COMMIT PREPARED or ROLLBACK PREPARED it: it holds its locks for ever.",
    ),
    "long-transactions": Kind(
        forbids=False,
        cure="The cut-over waits for it, attempt by attempt. See who it is with `tiergate show`, or end it.",
    ),
    "leftovers": Kind(
        forbids=False,
        cure="It is a mark of a move that is over, and this one replaces it. `tiergate moves list` tells what"
        " became of that one.",
    ),
    "target-rows": Kind(
        forbids=True,
        cure="Rows of that name lie at the target already. Find out whose they are; remove them by hand.",
    ),
    "locks": Kind(
        forbids=True,
        cure="Raise max_locks_per_transaction on that server: all of the schema's tables and indexes"
        " are locked at once.",
    ),
    "connections": Kind(
        forbids=False,
        cure="Raise max_connections on that server, or lower pools.max_db_connections.",
    ),
    "budget": Kind(
        forbids=False,
        cure="Raise pools.max_db_connections: with more places than connections, tenants take them"
        " from each other.",
    ),
    "size": Kind(
        forbids=False,
        cure="Postgres tells no free space: see yourself that the target's disk holds it, twice over"
        " until the old rows are removed from a server that both share.",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that stands in a move's way.

    Attributes:
        code: Of `KINDS`.
        what: The table, session, setting, … with what is wrong with it.
        where: Cluster and database.
    """

    code: str
    what: str
    where: str

    @property
    def forbids(self) -> bool:
        """Whether the move is refused because of it."""
        return KINDS[self.code].forbids

    @property
    def cure(self) -> str:
        """What to do about it."""
        return KINDS[self.code].cure
