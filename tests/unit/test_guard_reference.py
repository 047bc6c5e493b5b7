"""The page that lists what statements may say is made from the lists."""

from pathlib import Path

from guard.reference import page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "guard.md"


def test_the_reference_is_made_from_the_lists_of_today() -> None:
    """Run `python -m guard.reference > docs/reference/guard.md` when this fails."""
    assert REFERENCE.read_text(encoding="utf-8") == page()
