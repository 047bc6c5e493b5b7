"""`tiergate serve`, `demo`, `check`, `reload`, `version`: the gateway itself."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tiergate import __version__
from tiergate.cli.admin import find_address, open_admin
from tiergate.cli.options import AdminKey, AdminUrl, AsJson, ConfigPath, config_path
from tiergate.cli.output import print_facts, print_json, print_rows, say


def add_to(app: typer.Typer) -> None:
    """Add these commands to *app*."""
    app.command(epilog="Example: [bold]tiergate demo --port 9080 --admin-port 9081[/bold]")(demo)
    app.command(epilog="Example: [bold]tiergate serve --config tiergate.yaml --processes 4[/bold]")(serve)
    app.command(epilog="Example: [bold]tiergate check --config tiergate.yaml --offline[/bold]")(check)
    app.command(epilog="Example: [bold]tiergate reload --admin http://127.0.0.1:8081[/bold]")(reload)
    app.command(epilog="Example: [bold]tiergate version --json[/bold]")(version)


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where its data and demo.json are kept.")
    ] = Path(".tiergate"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Erase what an earlier demo left, and begin anew.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The gateway's port.")] = 8080,
    admin_port: Annotated[int, typer.Option("--admin-port", min=0, max=65535, help="The admin port.")] = 8081,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not check first that tenants are kept apart.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start three Postgres clusters, the registry, tenants with rows, and the gateway, on this machine.

    Stop it with Ctrl-C; started again, its data is still there.
    """
    from tiergate.demo import run  # noqa: PLC0415 - heavy, and needed by this command only

    run(
        folder=folder,
        fresh=fresh,
        port=port,
        admin_port=admin_port,
        verifies=not no_verify,
        as_json=as_json,
    )


def serve(
    config: ConfigPath = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, max=256, help="Instead of gateway.processes.", show_default=False),
    ] = None,
) -> None:
    """Run the gateway until it is told to stop: SIGTERM drains it, SIGHUP reloads its configuration."""
    from config.load import load  # noqa: PLC0415 - heavy, and needed by this command only
    from tiergate.supervisor import serve as run  # noqa: PLC0415 - the same

    overrides = {} if processes is None else {"gateway.processes": processes}
    reread = partial(load, config_path(config), overrides)
    run(reread(), reread)


def check(
    config: ConfigPath = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the configuration only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with a configuration, and what does not answer.

    Tries the registry and each cluster in it, and gives up on each after a few seconds.
    """
    from tiergate.cli.checking import find_mistakes, probe, refuse_unready  # noqa: PLC0415 - pydantic and drivers

    path = config_path(config)
    name = "defaults" if path is None else str(path)
    settings, mistakes = find_mistakes(path)
    if settings is None:
        if as_json:
            print_json({"config": name, "mistakes": mistakes})
        else:
            print_rows(mistakes, ("setting", "line", "found", "instead"), none="")
            say(f"{name}: {len(mistakes)} to correct.")
        sys.exit(1)
    probes = [] if offline else probe(settings)
    if as_json:
        print_json({"config": name, "mistakes": [], "probes": probes})
    else:
        say(f"{name}: nothing to correct.")
        if probes:
            print_rows(probes, ("what", "address", "answers", "detail"), none="")
    refuse_unready(probes)


def reload(
    admin: AdminUrl = None,
    key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Have the gateway read its configuration anew, and say what needs a restart."""
    with open_admin(find_address(admin, key)) as api:
        answer = api.ask("POST", "/reload")
    if as_json:
        print_json(answer)
        return
    applied, waiting = answer.get("applied"), answer.get("needs_restart")
    for title, names in (("Now in effect", applied), ("At the next start", waiting)):
        if isinstance(names, list) and names:
            say(f"{title}: {', '.join(str(name) for name in names)}")
    if not applied and not waiting:
        say("Nothing has changed.")


def version(
    as_json: AsJson = False,
) -> None:
    """Say which tiergate this is, and on what it runs."""
    import platform  # noqa: PLC0415

    facts = {
        "tiergate": __version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }
    print_json(facts) if as_json else print_facts(facts)
