"""What `${…}` stands for, and what is said when it stands for nothing."""

import os
from pathlib import Path

import pytest

from config.secrets import MAX_BYTES, Resolved, resolve


def resolved(text: str, folder: Path, **env: str) -> Resolved:
    return resolve(text, env=env, folder=folder)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${env:A}", "one"),
        ("x${env:A}y${env:B}z", "xoneytwoz"),
        ("plain $ and } and {", "plain $ and } and {"),
        ("$${env:A}", "${env:A}"),
        ("$$ ${env:A}", "$$ one"),
        ("", ""),
    ],
)
def test_references_are_replaced_alone_or_within_a_text(text: str, result: str, tmp_path: Path) -> None:
    assert resolved(text, tmp_path, A="one", B="two").text == result


def test_what_came_in_is_not_searched_again(tmp_path: Path) -> None:
    assert resolved("${env:A}", tmp_path, A="${env:A}").text == "${env:A}"


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b"s", "s"),
        (b"s\n", "s"),
        (b"s\r\n", "s"),
        (b"s\n\n", "s\n"),
        (b"s\r", "s\r"),
        (b" s ", " s "),
        (b"", ""),
    ],
)
def test_a_file_loses_one_newline_at_its_end(content: bytes, result: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)

    assert resolved(f"${{file:{tmp_path}/secret}}", Path("/")).text == result


def test_a_relative_file_is_looked_for_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")

    assert resolved("${file:secret}", tmp_path).text == "s"


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("s")
    (tmp_path / "secret").symlink_to("real")

    assert resolved("${file:secret}", tmp_path).text == "s"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    result = resolved("a${env:NOPE}b", tmp_path)

    assert result.text is None
    assert result.problems == (("${env:NOPE}, which is not set", "set the environment variable NOPE"),)


def test_every_reference_that_cannot_be_followed_is_named(tmp_path: Path) -> None:
    result = resolved("${env:NOPE}${file:gone}", tmp_path)

    assert ["NOPE" in result.problems[0][0], "gone" in result.problems[1][0]] == [True, True]


def test_files_that_cannot_serve_are_named_without_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("hunter2" * MAX_BYTES)
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    os.mkfifo(tmp_path / "pipe")

    for name in ("large", "binary", "pipe", ".", "gone"):
        result = resolved(f"${{file:{name}}}", tmp_path)

        assert result.text is None
        assert str(tmp_path / name) in result.problems[0][1]
        assert "hunter2" not in str(result.problems)


@pytest.mark.parametrize(
    "text", ["${HOME}", "${", "${env:}", "${env:A", "${vault:a}", "${ENV:A}", "${env:A{B}}"]
)
def test_what_only_looks_like_a_reference_is_a_problem(text: str, tmp_path: Path) -> None:
    result = resolved(text, tmp_path, A="one")

    assert result.text is None
    assert "$${" in result.problems[0][1]
