"""What may go wrong while places are made ready. No message here ever carries a password."""

from tiergate.errors import TiergateError
from tiergate.tenant import TenantId


class ClusterUnreachable(TiergateError):
    """A cluster cannot be connected to, or the connection broke."""

    code = "cluster-unreachable"
    retryable = True
    advice = "Check the cluster's conninfo and the administrator's login, and that the server is up."

    def __init__(self, cluster: str, why: str) -> None:
        super().__init__(f"cluster {cluster!r} does not answer: {why}")
        self.cluster = cluster
        self.why = why


class NotSuperuser(TiergateError):
    """The administrator's login is no superuser."""

    code = "not-superuser"
    advice = "Give the cluster a superuser's login; requests never use it."

    def __init__(self, cluster: str, user: str) -> None:
        super().__init__(f"role {user!r} is no superuser of cluster {cluster!r}")
        self.cluster = cluster
        self.user = user


class ClusterUnfit(TiergateError):
    """A cluster or database cannot hold tenants as it is."""

    code = "cluster-unfit"
    advice = "Change what the message names, then try again."

    def __init__(self, cluster: str, why: str) -> None:
        super().__init__(f"cluster {cluster!r} cannot hold tenants: {why}")
        self.cluster = cluster
        self.why = why


class ClusterTaken(TiergateError):
    """A database or server is in use already, as another cluster or by another registry."""

    code = "cluster-taken"
    advice = (
        "Nothing was changed. Use the cluster that is there, or another database; two standard clusters need "
        "two servers. If the other cluster is given up, drop its database and make it again, empty."
    )

    def __init__(self, cluster: str, why: str) -> None:
        super().__init__(f"this cannot become cluster {cluster!r}: {why}")
        self.cluster = cluster
        self.why = why


class WrongServer(TiergateError):
    """What answers at an address is not the cluster that is meant."""

    code = "wrong-server"
    advice = (
        "Nothing was changed. Give the address where the cluster's database is, or restore it there first, "
        "with its schema tiergate."
    )

    def __init__(self, cluster: str, database: str) -> None:
        super().__init__(f"database {database!r} at that address is not that of cluster {cluster!r}")
        self.cluster = cluster
        self.database = database


class ContextKeyConflict(TiergateError):
    """A database knows another context key under our number."""

    code = "context-key-conflict"
    advice = (
        "Was secrets.master_key changed, or is the database another registry's? "
        "Use the old key, or a new database."
    )

    def __init__(self, cluster: str, database: str, kid: int) -> None:
        super().__init__(f"database {database!r} of cluster {cluster!r} has another context key number {kid}")
        self.cluster = cluster
        self.database = database
        self.kid = kid


class PlaceTaken(TiergateError):
    """What a place would be made of exists already and is not ours."""

    code = "place-taken"
    advice = "Rename or drop what is in the way, or name another schema or login."

    def __init__(self, cluster: str, what: str, why: str) -> None:
        super().__init__(f"{what} of cluster {cluster!r} is not ours: {why}")
        self.cluster = cluster
        self.what = what


class ApplicationInvalid(TiergateError):
    """The application's SQL files cannot be used.

    Attributes:
        where: File, with the line where it is known, or table or other object.
    """

    code = "application-invalid"
    advice = "Mend the file or table that the message names; nothing was changed."

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class ApplicationChanged(TiergateError):
    """The application's SQL files are not those that the schema was made from."""

    code = "application-changed"
    advice = (
        "Changing tables that exist needs migrations, which tiergate does not have yet. Put the files back "
        "and start the gateway again; or lose the rows: drop the schema with CASCADE and repeat the command."
    )

    def __init__(self, cluster: str, database: str, schema: str) -> None:
        super().__init__(
            f"schema {schema!r} in database {database!r} of cluster {cluster!r} was made from other SQL files"
        )
        self.cluster = cluster
        self.database = database
        self.schema = schema


class FenceConflict(TiergateError):
    """A tenant's fence is not the one that was expected.

    Attributes:
        found: What the fence says, or None when there is no fence.
    """

    code = "fence-conflict"
    advice = "The database is right: read the tenant's placement anew, and look for a move that is under way."

    def __init__(self, tenant: TenantId, expected: str, found: str | None) -> None:
        super().__init__(f"the fence of tenant {tenant!r} is {found or 'missing'}, not {expected}")
        self.tenant = tenant
        self.expected = expected
        self.found = found


class ProvisioningTimeout(TiergateError):
    """A step took longer than its deadline, or waited too long for a lock."""

    code = "provisioning-timeout"
    retryable = True
    advice = "Run it again: what was done is kept, what was not is taken up."

    def __init__(self, cluster: str, step: str) -> None:
        super().__init__(f"cluster {cluster!r} did not {step} in time")
        self.cluster = cluster
        self.step = step


class ProvisioningFailed(TiergateError):
    """Postgres refused a step.

    Attributes:
        sqlstate: The server's code, or None.
    """

    code = "provisioning-failed"
    advice = "See the server's reason; once it is mended, run the same again."

    def __init__(self, cluster: str, step: str, sqlstate: str | None, why: str) -> None:
        super().__init__(f"cluster {cluster!r} could not {step}: {why}")
        self.cluster = cluster
        self.step = step
        self.sqlstate = sqlstate


class Unquotable(TiergateError):
    """A text cannot be an identifier or a literal in SQL."""

    code = "unquotable"
    advice = "Use 1 to 63 bytes of UTF-8 without NUL for names."

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"this text cannot be {what}: {why}")
        self.what = what
        self.why = why


class AcrossFailed(TiergateError):
    """A statement over all tenants of a place failed there."""

    code = "across-failed"
    advice = "Correct the statement; in this place nothing has changed."

    def __init__(self, place: str, sqlstate: str, message: str) -> None:
        super().__init__(f"place {place} refused the statement ({sqlstate}): {message}")
        self.place = place
        self.sqlstate = sqlstate


class ReplicaUnfit(TiergateError):
    """What answers at an address is no standby of the cluster."""

    code = "replica-unfit"
    advice = "Give the address of one streaming standby of the cluster; see docs/how-to/replicas.md."

    def __init__(self, cluster: str, replica: str, reason: str) -> None:
        super().__init__(f"{replica!r} cannot be a replica of cluster {cluster!r}: {reason}")
        self.cluster = cluster
        self.reason = reason


class PoolerUnfit(TiergateError):
    """A place's login does not get through the PgBouncer that was named."""

    code = "pooler-unfit"
    advice = (
        "PgBouncer must let every login of the cluster through as itself, with auth_query for instance;"
        " see docs/how-to/pgbouncer.md."
    )

    def __init__(self, cluster: str, place: str, reason: str) -> None:
        super().__init__(f"place {place!r} of cluster {cluster!r} cannot be reached that way: {reason}")
        self.cluster = cluster
        self.reason = reason
