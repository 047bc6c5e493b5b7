"""Whether a refusal at the dial speaks of the whole server, or of one login or database alone.

libpq tells a refusal's SQLSTATE in its text only, and only when asked to be verbose, for which psycopg has
no binding; the words around it are in the server's language.
"""

import ctypes
import re
import sys

from psycopg import pq
from psycopg.pq.abc import PGconn

_TERSE, _VERBOSE = 1, 2  # PQERRORS_DEFAULT, PQERRORS_VERBOSE
_CODE = re.compile(r": +(?=[A-Z]*[0-9])([0-9A-Z]{5}): ")
# No room, no memory, no more connections; going down, or not up yet.
_OF_SERVER = frozenset({"53000", "53100", "53200", "53300", "57P01", "57P02", "57P03"})
# Where Postgres looks whether one role, or one database, has as many connections as it may: 53300 as well.
_OF_ONE = re.compile(r"InitializeSessionUserId|CheckMyDatabase")
# What psycopg itself calls libpq by: so it is the same library.
_libpq = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)


def tell_codes(conn: PGconn, *, wanted: bool) -> None:
    """Have *conn*'s errors begin with their SQLSTATE, or no longer."""
    # Every implementation has it; their common protocol leaves it out.
    pointer = conn.pgconn_ptr  # type: ignore[attr-defined]
    _libpq.PQsetErrorVerbosity(ctypes.c_void_p(pointer), _VERBOSE if wanted else _TERSE)


def is_of_server(told: str) -> bool:
    """Whether every other login would meet the same.

    Args:
        told: libpq's verbose words; without any SQLSTATE nobody has answered.

    Source:
        PostgreSQL 18, fe-protocol3.c, pqBuildErrorMessage3; appendix A "PostgreSQL Error Codes".
    """
    return _OF_SERVER.issuperset(_CODE.findall(told)) and not _OF_ONE.search(told)


def first_line(told: str) -> str:
    """What a person needs of *told*; the rest names lines of Postgres's source."""
    return "; ".join(line for line in told.strip().splitlines() if not line.startswith("LOCATION:"))
