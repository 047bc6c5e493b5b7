"""Names and texts written into DDL, which takes no parameters. Everything else is a parameter."""

from psycopg import sql

from fleet.errors import Unquotable

MAX_BYTES = 63


def quote_identifier(name: str) -> str:
    """*name* as SQL spells it between double quotes.

    Refuses what Postgres would cut: two long names could become one.

    Raises:
        Unquotable: Empty, over 63 bytes of UTF-8, a NUL inside, or no valid Unicode.

    Source:
        PostgreSQL 18, 4.1.1 "Identifiers and Key Words" (NAMEDATALEN - 1).
    """
    size_bytes = len(_utf8("a name", name))
    if not 0 < size_bytes <= MAX_BYTES:
        raise Unquotable("a name", f"it has {size_bytes} bytes")
    return sql.Identifier(name).as_string(None)


def quote_literal(text: str) -> str:
    """*text* as SQL spells it between single quotes, whatever `standard_conforming_strings` says.

    Raises:
        Unquotable: A NUL inside, or no valid Unicode.
    """
    _utf8("a literal", text)
    return sql.Literal(text).as_string(None)


def _utf8(what: str, text: str) -> bytes:
    if "\0" in text:
        raise Unquotable(what, "it has a NUL inside")
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise Unquotable(what, "it is no valid Unicode") from exc
