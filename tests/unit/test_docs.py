"""The documentation holds together: links lead somewhere, no page is lost, and the commands in it exist."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from router.problems import RULES
from tiergate.cli.app import app

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "README.md"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = {"sh", "bash", "console"}
GLOBAL = {"--help"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

Command = Any  # typer brings a copy of click without a public name


@cache
def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@cache
def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """As written, file and anchor of each link that stays in the repository."""
    for written in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not re.match(r"[a-z]+:", written):
            path, _, anchor = written.partition("#")
            yield written, (page.parent / path).resolve() if path else page, anchor


@cache
def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by, as the usual renderers make it of their words."""
    titles = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_relative_link_leads_to_a_file_of_the_repository(page: Path) -> None:
    lost = [written for written, file, _ in links(page) if not (file.is_file() and file.is_relative_to(ROOT))]

    assert lost == []


@each_page
def test_every_anchor_is_a_heading_of_its_page(page: Path) -> None:
    lost = [
        written
        for written, file, anchor in links(page)
        if anchor and file.suffix == ".md" and file.is_file() and anchor not in anchors(file)
    ]

    assert lost == []


def test_every_page_can_be_reached_from_the_index() -> None:
    found, waiting = {INDEX}, [INDEX]
    while waiting:
        for _, file, _ in links(waiting.pop()):
            if file.suffix == ".md" and file.is_file() and file not in found:
                found.add(file)
                waiting.append(file)

    assert sorted(str(page.relative_to(ROOT)) for page in {*PAGES} - found if page.parent != ROOT) == []


def test_the_readme_leads_to_the_index() -> None:
    assert INDEX in {file for _, file, _ in links(ROOT / "README.md")}


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs" / "decisions").glob("*.md"))]

    assert numbers == list(range(1, len(numbers) + 1))


def calls(page: Path) -> Iterator[str]:
    """Each call of `tiergate` in code, from the first word after it to where the shell would end it."""
    code = [text for language, text in blocks(page) if language in SHELL]
    code += re.findall(r"`(tiergate [^`]+)`", prose(page))
    for text in code:
        joined = text.replace("\\\n", " ")
        for call in re.findall(r"(?:^|[\s(/])tiergate +(.*)", joined):
            yield re.sub(r"'[^']*'|\"[^\"]*\"", "VALUE", call).partition("#")[0]


def leaf(words: list[str]) -> tuple[Command, list[str]]:
    """The command that *words* begin with, and the rest of them."""
    command: Command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@each_page
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    wrong = []
    for call in calls(page):
        words = re.split(r"[\s|;&)]+", re.split(r"[|;&)<>]", call)[0].strip())
        command, rest = leaf(words)
        known = {option for parameter in command.params for option in parameter.opts} | GLOBAL
        is_group = hasattr(command, "commands")
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        if (is_group and rest and re.match(r"[a-z]", rest[0])) or given - known:
            wrong.append(call)

    assert wrong == []


def test_the_commands_in_the_documentation_are_looked_at() -> None:
    named = {call.split()[0] for page in PAGES for call in calls(page) if call.split()}

    assert {"demo", "serve", "check", "reload", "cluster", "tenant", "key", "psql"} <= named


@pytest.mark.parametrize(
    "code",
    sorted(
        {kind.code for kind in RULES if kind.__module__.partition(".")[0] in {"pools", "router"}}
        - {"bad-request"}
    ),
)
def test_the_page_for_the_night_says_what_to_do_for_every_refusal_at_the_door(code: str) -> None:
    assert f"`{code}`" in (ROOT / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
