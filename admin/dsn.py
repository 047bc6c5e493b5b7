"""Takes apart what an operator gives as a cluster's DSN."""

from dataclasses import dataclass, field

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from registry.errors import BadCluster

# Read from files or the environment of whichever gateway connects, or a secret that conninfo would show.
_REFUSED = frozenset({"service", "servicefile", "passfile", "options", "sslpassword", "oauth_client_secret"})


_WRITES = frozenset({"read-write", "primary"})


@dataclass(frozen=True, slots=True)
class Dsn:
    """A cluster's address and its administrator.

    Attributes:
        conninfo: libpq keywords for host, port and TLS.
    """

    conninfo: str
    database: str
    user: str
    password: str = field(repr=False)


def read_dsn(text: str) -> Dsn:
    """*text*, a postgresql:// URL or libpq keywords, in its parts.

    Raises:
        BadCluster: It is neither, or lacks a host, a user or a database, or says what no gateway can follow.
    """
    given = _read(text, "DSN")
    if refused := sorted(_REFUSED & given.keys()):
        raise BadCluster(f"the DSN must not give {', '.join(refused)}")
    if missing := [name for name in ("user", "dbname") if name not in given]:
        raise BadCluster(f"the DSN must give {' and '.join(missing)}")
    if (
        "," in given.get("host", given.get("hostaddr", ""))
        and given.get("target_session_attrs") not in _WRITES
    ):
        # Else whichever answers first is taken, a standby too.
        raise BadCluster("a DSN with several hosts must say target_session_attrs=read-write")
    user, database, password = given.pop("user"), given.pop("dbname"), given.pop("password", "")
    return Dsn(make_conninfo("", **given), database, user, password)


def read_address(text: str) -> str:
    """*text*, a postgresql:// URL or libpq keywords with host, port and TLS, as keywords.

    Raises:
        BadCluster: It is neither, or lacks a host, or says more.
    """
    keywords = _read(text, "address")
    if extra := sorted((_REFUSED | {"user", "password", "dbname"}) & keywords.keys()):
        raise BadCluster(f"the address must not give {', '.join(extra)}: requests log in with their own")
    return make_conninfo("", **keywords)


def _read(text: str, what: str) -> dict[str, str]:
    """The keywords that *text* gives."""
    try:
        keywords = conninfo_to_dict(text)
    except ProgrammingError:
        # libpq's words quote the text, and the text may hold a password.
        raise BadCluster(f"the {what} is neither a postgresql:// URL nor libpq keywords") from None
    given = {name: str(value) for name, value in keywords.items() if value not in {None, ""}}
    if not {"host", "hostaddr"} & given.keys():
        raise BadCluster(f"the {what} must give host")
    return given


def is_same_address(one: str, other: str) -> bool:
    """Whether two conninfos say the same, in whichever order."""
    return conninfo_to_dict(one) == conninfo_to_dict(other)
