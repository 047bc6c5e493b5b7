"""Every setting stands in the defaults and in the reference, with the facts that its type gives."""

from pathlib import Path

import pytest

from config.reference import Entry, entries, page
from config.schema import SCHEMA, Leaf, leaves

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
LEAVES = dict(leaves(SCHEMA))
ENTRIES = {entry.path: entry for entry in entries()}


def test_defaults_and_settings_have_the_same_names() -> None:
    assert [path for path, entry in ENTRIES.items() if entry.default is not None] == list(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_a_setting_has_its_entry_in_the_reference(path: str) -> None:
    assert f"**`{path}`**" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_a_setting_or_section_is_explained_in_sentences(entry: Entry) -> None:
    assert entry.text.endswith(".")


@pytest.mark.parametrize(("path", "leaf"), LEAVES.items(), ids=LEAVES)
def test_the_bounds_in_the_comment_are_those_of_the_type(path: str, leaf: Leaf) -> None:
    assert ENTRIES[path].facts in {f"{leaf.wanted()} (reload)", f"{leaf.wanted()} (restart)"}


def test_no_secret_has_a_default() -> None:
    assert {ENTRIES[path].default for path, leaf in LEAVES.items() if leaf.secret} == {"null"}


def test_a_setting_without_a_default_says_that_it_is_required() -> None:
    silent = [path for path, leaf in LEAVES.items() if ENTRIES[path].default == "null" and not leaf.nullable]

    assert [path for path in silent if "required" not in ENTRIES[path].text] == []


def test_the_reference_is_made_from_the_defaults_of_today() -> None:
    """Run `python -m config.reference > docs/reference/settings.md` when this fails."""
    assert REFERENCE.read_text(encoding="utf-8") == page()
