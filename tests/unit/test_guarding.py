"""What the settings mean for the guard: every addition that cannot stand is named."""

from pathlib import Path

import pytest

from config.errors import SettingsInvalid
from config.load import load
from tiergate.cli.checking import find_mistakes
from tiergate.guarding import guard_of

CONFIGURATION = """
admin:
  key: an-admin-key-for-the-tests
registry:
  url: postgresql://localhost/registry
secrets:
  master_key: a-master-key-of-thirty-two-characters
application:
  sql: .
guard:
  tiers:
    premium:
      functions: [pg_sleep, app.f, levenshtein]
      operators: [foo]
      extensions: [dblink]
    government:
      types: [regclass]
"""
EVERY = {
    ("guard.tiers.premium.functions", '"pg_sleep"'),
    ("guard.tiers.premium.functions", '"app.f"'),
    ("guard.tiers.premium.operators", '"foo"'),
    ("guard.tiers.premium.extensions", '"dblink"'),
    ("guard.tiers.government.types", '"regclass"'),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "tiergate.yaml"
    written.write_text(CONFIGURATION)
    return written


def test_every_addition_that_cannot_stand_is_named(path: Path) -> None:
    """Only the first one of each tier was."""
    with pytest.raises(SettingsInvalid) as refused:
        guard_of(load(path))

    assert {(mistake.path, mistake.found) for mistake in refused.value.mistakes} == EVERY


def test_check_names_them_with_their_lines(path: Path) -> None:
    _, mistakes = find_mistakes(path)

    lines = {mistake["setting"]: mistake["line"] for mistake in mistakes}
    assert (
        lines["guard.tiers.premium.functions"]
        == CONFIGURATION.split("functions", maxsplit=1)[0].count("\n") + 1
    )
    assert None not in lines.values()
