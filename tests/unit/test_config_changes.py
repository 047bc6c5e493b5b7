"""What a reload changes, and what waits for a restart."""

from dataclasses import replace

import pytest

from config.changes import RELOADABLE, Changes, changes, merged
from config.errors import SettingsInvalid
from config.load import load
from config.reference import marks
from config.schema import values
from config.settings import Settings

REQUIRED = {
    "admin.key": "k" * 32,
    "registry.url": "postgresql://u:p@db/registry",
    "secrets.master_key": "m" * 32,
    "application.sql": "/",
}
ISSUER = {"issuer": "i", "audience": "a", "algorithms": ["RS256"], "jwks_url": "https://keys.example.com"}


def loaded(**changed: object) -> Settings:
    return load(None, {**REQUIRED, **changed}, {})


def test_the_settings_that_can_change_while_running_are_those_marked_so() -> None:
    assert {path for path, mark in marks().items() if mark == "reload"} == RELOADABLE


def test_every_setting_is_marked_one_way_or_the_other() -> None:
    assert set(marks()) == set(values(loaded()))
    assert set(marks().values()) == {"reload", "restart"}


def test_nothing_differs_from_itself() -> None:
    assert changes(loaded(), loaded()) == Changes((), ())


def test_changes_are_told_apart_by_when_they_take_effect() -> None:
    new = loaded(**{"gateway.port": 9, "logging.level": "debug", "pools.tiers.premium.max_waiting": 1})

    assert changes(loaded(), new) == Changes(
        applied=("pools.tiers.premium.max_waiting", "logging.level"), needs_restart=("gateway.port",)
    )


def test_issuers_are_one_setting() -> None:
    new = loaded(**{"identity.jwt": [ISSUER]})

    assert changes(loaded(), new).applied == ("identity.jwt",)
    assert merged(loaded(), new).identity == new.identity


def test_a_changed_secret_waits_for_a_restart() -> None:
    new = loaded(**{"secrets.master_key": "n" * 32, "admin.key": "l" * 32})

    assert changes(loaded(), new).needs_restart == ("admin.key", "secrets.master_key")


def test_what_runs_now_is_the_new_with_the_old_where_a_restart_is_needed() -> None:
    old = loaded()
    new = loaded(**{"gateway.port": 9, "gateway.max_inflight": 5, "pools.tiers.premium.max_waiting": 1})

    now = merged(old, new)

    assert changes(old, now) == Changes(changes(old, new).applied, ())
    assert changes(now, new) == Changes((), ("gateway.port",))


def test_the_old_settings_stay_as_they_are() -> None:
    old = loaded()
    merged(old, loaded(**{"pools.tiers.premium.max_waiting": 1}))

    assert old == loaded()


def test_what_fits_only_after_the_restart_is_not_applied_before() -> None:
    old = loaded(**{"gateway.processes": 4})
    new = loaded(**{"gateway.processes": 1, "pools.max_db_connections": 20})

    with pytest.raises(SettingsInvalid) as caught:
        merged(old, new)

    assert caught.value.mistakes[0].path == "pools.tiers.standard.default_pool_size"


def test_merging_with_the_same_changes_nothing() -> None:
    settings = loaded(**{"identity.jwt": [ISSUER]})

    assert merged(settings, replace(settings)) == settings
