"""Tenant names: what may be one, and what never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiergate.tenant import Tier, tenant_id

LABEL = "abcdefghijklmnopqrstuvwxyz0123456789-"


@pytest.mark.parametrize("name", ["a", "0", "acme", "a-b", "a--b", "x" * 63, "1" * 63, "a" + "-" * 61 + "z"])
def test_a_dns_label_in_lower_case_is_a_tenant_name(name: str) -> None:
    assert tenant_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "-", "-a", "a-", "x" * 64, "Acme", "a_b", "a.b", "a b", " acme", "acme ", "acme\n", "a\0b",
        "é", "\N{CYRILLIC SMALL LETTER A}", "\N{FULLWIDTH LATIN SMALL LETTER A}",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "acme'; DROP SCHEMA x; --", '"', "\N{SLICE OF PIZZA}", "a|b",
    ],
)  # fmt: skip
def test_anything_else_is_none(name: str) -> None:
    assert tenant_id(name) is None


@given(st.text())
def test_whatever_passes_is_a_label_of_63_plain_characters_at_most(text: str) -> None:
    name = tenant_id(text)

    if name is not None:
        assert 1 <= len(name) <= 63
        assert set(name) <= set(LABEL)
        assert not name.startswith("-")
        assert not name.endswith("-")


@given(st.text(LABEL, min_size=1, max_size=63).filter(lambda text: text[0] != "-" != text[-1]))
def test_every_label_passes(text: str) -> None:
    assert tenant_id(text) == text


def test_tiers_are_spelled_as_the_configuration_spells_them() -> None:
    assert [str(tier) for tier in Tier] == ["standard", "premium", "government"]
