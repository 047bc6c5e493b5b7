"""The command `tiergate`: a thin skin over the admin API, for people and for scripts.

Imports as little as it can, so that `--help` answers at once.
"""

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code (see docs/reference/cli.md)."""
    from tiergate.cli.app import app  # noqa: PLC0415 - costs 0.1 s, which a plain import of this package should not
    from tiergate.cli.failures import exit_code, tell  # noqa: PLC0415
    from tiergate.errors import TiergateError  # noqa: PLC0415

    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=given, prog_name="tiergate")
    except TiergateError as error:
        tell(error, as_json="--json" in given)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
