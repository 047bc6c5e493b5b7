"""A picture of Prometheus's own graph page with the tiers of a demo at work: `make watch-picture`.

Takes two minutes, and needs `prometheus` and a Chromium. What is shown is real, and its figures are those of
this machine at that time.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from tests.support.demos import open_demo
from tests.support.http import query, request
from tests.support.load import open_load
from tests.support.postgres import server_folder
from tests.support.prometheus import find_prometheus, open_prometheus
from tests.support.waiting import wait_until

MOST_BYTES = 150_000
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "prometheus-tiers.png"
READ = "SELECT count(*) AS n FROM projects"
GRAPHS = (
    'sum by (tier) (rate(tiergate_requests_total{tier!="unknown"}[15s]))',
    'histogram_quantile(0.99, sum by (tier, le) (rate(tiergate_request_seconds_bucket{phase="total"}[15s])))',
)
CALLERS = 6
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SIZE = "1100,1700"
_DRAWN_MS = 15_000
_DRAWN_S = 90


def find_browser() -> str | None:
    """A Chromium that the system has."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def page(prometheus: str, seconds: int) -> str:
    """The address of the graph page with all graphs on it."""
    asked: dict[str, str] = {}
    for number, expression in enumerate(GRAPHS):
        asked |= {
            f"g{number}.expr": expression,
            f"g{number}.tab": "0",
            f"g{number}.range_input": f"{seconds}s",
        }
    return f"{prometheus}/graph?{urlencode(asked)}"


def photograph(browser: str, address: str, into: Path) -> None:
    """Have *browser* draw a page without a screen.

    Raises:
        RuntimeError: It drew nothing, or the picture is too large.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    into.unlink(missing_ok=True)
    with TemporaryDirectory() as profile:
        # A browser of root has no sandbox; it looks at nothing but our own page.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            browser, "--headless", *sandbox, "--disable-gpu", "--hide-scrollbars", f"--window-size={_SIZE}",
            f"--user-data-dir={profile}", f"--virtual-time-budget={_DRAWN_MS}", f"--screenshot={into}",
            address,
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=_DRAWN_S, capture_output=True)
    if not into.exists() or into.stat().st_size > MOST_BYTES:
        msg = f"{into} is not there, or has more than {MOST_BYTES} bytes"
        raise RuntimeError(msg)


async def run(prometheus: str, browser: str, options: argparse.Namespace) -> None:
    """Have a demo work for a while, and take the picture."""
    with server_folder() as folder:
        async with open_demo(folder / "demo") as demo:
            await demo.ready()
            keys = [tenant["key"] for tenant in demo.facts["tenants"].values()]
            asked = [(request(key, query(READ)), b'"n"') for key in keys]
            async with (
                open_prometheus(prometheus, folder, demo.facts["admin"]) as opened,
                open_load(demo.facts["gateway"], asked, callers=CALLERS, every_s=0.05),
            ):
                await asyncio.sleep(options.seconds)
                for expression in GRAPHS:
                    await wait_until(partial(opened.ask, expression), what=expression)
                await asyncio.to_thread(photograph, browser, page(opened.url, options.seconds), options.into)
            await demo.end(signal.SIGINT)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=90, help="for how long the demo works (90)")
    parser.add_argument("--into", type=Path, default=PICTURE, help="the PNG that is written")
    options = parser.parse_args()
    prometheus, browser = find_prometheus(), find_browser()
    if prometheus is None:
        sys.exit("there is no Prometheus here: apt-get install prometheus")
    if browser is None:
        sys.exit("there is no Chromium here: apt-get install chromium")
    asyncio.run(run(prometheus, browser, options))
    print(f"wrote {options.into} ({options.into.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
