"""What a database should carry, read from the very files that lay it."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

_FUNCTION = re.compile(
    r"^CREATE OR REPLACE FUNCTION tiergate\.(?P<name>\w+)\((?P<arguments>[^)]*)\) RETURNS .+?\n"
    r"(?P<attributes>LANGUAGE .+?)\n(?P<settings>(?:SET .+?\n)+)AS \$\$(?P<body>.*?)\$\$;",
    re.MULTILINE | re.DOTALL,
)
_VOLATILITY = {"IMMUTABLE": "i", "STABLE": "s"}
_PARALLEL = {"PARALLEL SAFE": "s", "PARALLEL RESTRICTED": "r"}
_TAKEN = re.compile(
    r"SELECT string_agg\((?P<what>.+?), ', '\) INTO (?P<into>\w+)\n"
    r"(?P<rest>.+?);\n\s*IF (?P=into) IS NOT NULL",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of schema tiergate, with its attributes as pg_proc has them; settings one a line."""

    name: str
    body: str
    is_definer: bool
    volatility: str
    parallel: str
    settings: str


@cache
def functions() -> tuple[Function, ...]:
    """The functions that `fleet/data/tiergate.sql` makes."""
    return tuple(
        Function(
            found["name"],
            hashlib.md5(found["body"].encode(), usedforsecurity=False).hexdigest(),
            "SECURITY DEFINER" in found["attributes"],
            _one_of(found["attributes"], _VOLATILITY, "v"),
            _one_of(found["attributes"], _PARALLEL, "u"),
            re.sub(r"^SET (\w+) = ", r"\1=", found["settings"].strip(), flags=re.MULTILINE),
        )
        for found in _FUNCTION.finditer(_sql("tiergate.sql"))
    )


@cache
def taken_from_public() -> tuple[str, ...]:
    """Queries that name what `fleet/data/harden.sql` would take from PUBLIC now: nothing, if all is well."""
    return tuple(
        f"SELECT DISTINCT {found['what']} AS name {found['rest']}"
        for found in _TAKEN.finditer(_sql("harden.sql"))
    )


def _one_of(text: str, words: dict[str, str], otherwise: str) -> str:
    return next((letter for word, letter in words.items() if word in text), otherwise)


def _sql(name: str) -> str:
    return resources.files("fleet").joinpath("data", name).read_text(encoding="utf-8")
