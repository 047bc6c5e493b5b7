"""The YAML that is read: what is refused, where, and without quoting a value."""

import os
from pathlib import Path

import pytest

from config.document import MAX_BYTES, Document, parse, read_document
from config.errors import Mistake, SettingsInvalid

SECRET = "hunter2-hunter2"


def refused(text: str) -> Mistake:
    with pytest.raises(SettingsInvalid) as caught:
        parse(text, name="tiergate.yaml")
    (mistake,) = caught.value.mistakes
    return mistake


def refused_file(path: Path) -> Mistake:
    with pytest.raises(SettingsInvalid) as caught:
        read_document(path)
    (mistake,) = caught.value.mistakes
    return mistake


def test_every_key_and_list_item_has_its_line() -> None:
    document = parse("gateway:\n  port: 1\nidentity:\n  jwt:\n    - issuer: a\n", name="x")

    assert document.lines == {
        "gateway": 1,
        "gateway.port": 2,
        "identity": 3,
        "identity.jwt": 4,
        "identity.jwt[0]": 5,
        "identity.jwt[0].issuer": 5,
    }


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("-7", -7),
        ("0123", 123),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("'8'", "8"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_read_by_the_core_schema_of_yaml_1_2(scalar: str, value: object) -> None:
    found = parse(f"a: {scalar}\n", name="x").values["a"]

    assert (type(found), found) == (type(value), value)


def test_an_endless_row_of_digits_is_a_number_out_of_every_bound() -> None:
    assert parse(f"a: {'9' * 5_000}", name="x").values == {"a": float("inf")}


@pytest.mark.parametrize("text", ["", "# nothing here\n", "---\n", "~\n"])
def test_an_empty_document_says_nothing(text: str) -> None:
    assert parse(text, name="x") == Document({})


def test_a_key_that_stands_twice_is_a_mistake_with_both_lines() -> None:
    document = parse("gateway:\n  port: 1\n  host: a\n  port: 2\n", name="x")

    (mistake,) = document.mistakes
    assert (mistake.path, mistake.line) == ("gateway.port", 4)
    assert "line 2" in mistake.instead


def test_every_repeated_key_is_named() -> None:
    document = parse("a: 1\na: 2\nb: {c: 1, c: 2}\n", name="x")

    assert [mistake.path for mistake in document.mistakes] == ["a", "b.c"]


@pytest.mark.parametrize("key", ["1", "null", "true", "? [a, b]\n  ", "? {a: b}\n  "])
def test_a_key_must_be_a_word(key: str) -> None:
    (mistake,) = parse(f"a:\n  {key}: 1\n", name="x").mistakes

    assert (mistake.path, mistake.found) == ("a", "a key that is no word")


@pytest.mark.parametrize(
    ("text", "found"), [("- a\n", "a list"), ("a\n", "a single value"), ("7", "a single value")]
)
def test_a_document_must_be_a_mapping(text: str, found: str) -> None:
    mistake = refused(text)

    assert (mistake.path, mistake.found, mistake.line) == ("tiergate.yaml", found, 1)


@pytest.mark.parametrize(
    "text",
    [
        f"admin:\n  key: *{SECRET}\n",
        f"admin:\n  key: &{SECRET} b\n",
        f"admin:\n  key: !{SECRET} b\n",
        f"admin:\n  key: !!python/object:os.{SECRET} b\n",
        f"admin:\n  key: @{SECRET}\n",
        f"admin:\n  key: `{SECRET}\n",
        f"admin:\n  key: %{SECRET}\n",
        f"admin:\n  key: a: {SECRET}\n",
        f'admin:\n  key: "{SECRET}\n',
        f"admin:\n  key: [{SECRET}\n",
        f'admin:\n  key: "\\q{SECRET}"\n',
        f"admin:\n\tkey: {SECRET}\n",
        f"admin:\n  host: a\n  key:{SECRET}\n  port: 1\n",
        f"admin:\n  key: {SECRET}\x07\n",
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line_and_unquoted(text: str) -> None:
    mistake = refused(text)

    assert mistake.line is not None
    assert mistake.line >= 2
    assert SECRET not in str(mistake)


def test_a_second_document_is_refused() -> None:
    assert refused("a: 1\n---\nb: 2\n").line == 2


def test_nesting_has_a_limit() -> None:
    assert "levels" in refused("a: " + "[" * 30_000).found


def test_a_bomb_of_aliases_is_refused_before_it_unfolds() -> None:
    bomb = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))

    assert "anchor" in refused(bomb).found


def test_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    mistake = refused_file(tmp_path / "tiergate.yaml")

    assert mistake.path == str(tmp_path / "tiergate.yaml")
    assert "does not exist" in mistake.found


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "not a regular file" in refused_file(tmp_path).found


def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "not a regular file" in refused_file(tmp_path / "pipe").found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_is_not_ours_to_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "tiergate.yaml").touch(mode=0o000)

    assert "permission" in refused_file(tmp_path / "tiergate.yaml").found


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiergate.yaml").write_text("#" * (MAX_BYTES + 1))

    assert str(MAX_BYTES) in refused_file(tmp_path / "tiergate.yaml").found


def test_bytes_that_are_not_utf_8_are_a_mistake_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "tiergate.yaml").write_bytes(b"a: 1\nb: \xff\n")

    assert "line 2" in refused_file(tmp_path / "tiergate.yaml").found


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "tiergate.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert read_document(tmp_path / "tiergate.yaml").values == {"a": 1}


def test_an_impossible_file_name_is_a_mistake() -> None:
    assert "impossible" in refused_file(Path("a\x00b")).found
