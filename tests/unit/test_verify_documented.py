"""Every check is explained, and what the data plane should be is read whole from the files that lay it."""

import re
from importlib import resources
from pathlib import Path

import pytest

from verify.checks import Check, checks
from verify.meant import functions, taken_from_public
from verify.reference import page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "verify.md"
FLEET = resources.files("fleet").joinpath("data")


def test_the_reference_is_what_the_checks_say_of_themselves() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == page(), "run python -m verify.reference"


@pytest.mark.parametrize("check", checks().values(), ids=checks())
def test_a_check_says_what_it_means_and_what_to_do(check: Check) -> None:
    assert check.what.endswith((".", ")."))
    assert check.advice.endswith(".")


def test_every_heading_of_the_queries_is_understood() -> None:
    folder = resources.files("verify").joinpath("data")
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".sql")]

    assert sum(text.count("-- @ ") for text in texts) == len(checks())


def test_every_function_of_the_data_plane_is_known_by_its_body() -> None:
    text = FLEET.joinpath("tiergate.sql").read_text(encoding="utf-8")

    made = re.findall(r"^CREATE OR REPLACE FUNCTION tiergate\.(\w+)", text, re.MULTILINE)
    assert sorted(function.name for function in functions()) == sorted(made)


def test_everything_that_is_taken_from_public_is_looked_for() -> None:
    text = FLEET.joinpath("harden.sql").read_text(encoding="utf-8")

    assert len(taken_from_public()) == len(re.findall(r"\bINTO \w+\b", text)) > 0
