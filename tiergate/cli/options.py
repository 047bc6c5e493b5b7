"""Options and arguments that several commands share, and how their values are read."""

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from tiergate.cli.errors import BadInput
from tiergate.tenant import Tier

AdminUrl = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="URL",
        help="The gateway's admin address; else TIERGATE_ADMIN_URL, else the demo of this folder.",
        show_default=False,
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="The admin key. Better in TIERGATE_ADMIN_KEY, where other users of the machine do not see it.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration; else TIERGATE_CONFIG, else tiergate.yaml in this folder.",
        show_default=False,
    ),
]
TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]
ClusterName = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="The cluster's name.", show_default=False)
]
KeyId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The key's id, from the list; not the key.", show_default=False),
]
TierName = Annotated[Tier, typer.Option("--tier", help="How its tenants are kept apart.", show_default=False)]
Region = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help="Where rows must stay.", show_default=False)
]
Confirm = Annotated[
    str | None,
    typer.Option("--confirm", metavar="NAME", help="The name once more: what goes.", show_default=False),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many to list.")]
After = Annotated[
    str, typer.Option("--after", metavar="NAME", help="List what comes after this one.", show_default=False)
]

_DURATION = re.compile(r"([1-9][0-9]{0,8})\s*([smhdw])", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_AGO_S = 100 * 366 * 86_400
_LARGEST_FILE_BYTES = 1024 * 1024


def config_path(given: Path | None) -> Path | None:
    """The configuration's file, or None when there is none and none was named."""
    if given is not None:
        return given
    if (named := os.environ.get("TIERGATE_CONFIG")) is not None:
        return Path(named)
    usual = Path("tiergate.yaml")
    return usual if usual.exists() else None


def check_confirmed(name: str, confirm: str | None, what: str) -> None:
    """Let pass when *confirm* repeats *name*.

    Raises:
        BadInput: It does not; tells *what* would be gone.
    """
    if confirm != name:
        said = "it is not confirmed" if confirm is None else f"--confirm says {confirm!r}, not {name!r}"
        raise BadInput(said, f"Give --confirm {name}; {what} will be gone, and there is no way back.")


def seconds(text: str, option: str) -> int:
    """A duration such as 30m, 12h, 90d.

    Raises:
        BadInput: It is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise BadInput(
            f"{option} {text!r} is no duration", "Write a number and s, m, h, d or w, such as 90d."
        )
    return int(found[1]) * _UNIT_S[found[2]]


def moment(text: str, option: str, *, now: datetime | None = None) -> datetime:
    """A moment: after a duration such as 90d, or a date, or a date and time (UTC unless it says otherwise).

    Raises:
        BadInput: It is none, or lies too far off.
    """
    try:
        if _DURATION.fullmatch(text.strip()):
            return (now or datetime.now(UTC)) + timedelta(seconds=seconds(text, option))
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"{option} {text!r} is no moment", "Write a duration such as 90d, or a date such as 2030-12-31."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def past(text: str, option: str) -> datetime:
    """A moment that was: a duration ago, such as 2h, or a date as for `moment`.

    Raises:
        BadInput: It is none.
    """
    if _DURATION.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(seconds=min(seconds(text, option), _LONGEST_AGO_S))
    return moment(text, option)


def id_of_key(text: str) -> str:
    """The id, also of a whole key, be it a tenant's or an operator's: that must not end up in a URL."""
    is_key = text.startswith(("tg_", "tga_"))
    return text.split("_")[1] if is_key else text


def read_text(path: Path, option: str) -> str:
    """What *path* holds; `-` is standard input.

    Raises:
        BadInput: It cannot be read, is no text, or is larger than 1 MiB.
    """
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(_LARGEST_FILE_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_LARGEST_FILE_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{option}: {path} cannot be read: {error.strerror}", "Name another file.") from error
    except ValueError as error:
        raise BadInput(f"{option}: {path} is not text in UTF-8", "Name another file.") from error
    if len(raw) > _LARGEST_FILE_BYTES:
        raise BadInput(f"{option}: {path} is larger than 1 MiB", "Split it.")
    return text
