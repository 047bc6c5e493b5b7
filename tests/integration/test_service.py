"""What keeps a gateway from starting."""

from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from registry.errors import SecretUnreadable
from registry.migrations import migrate
from registry.store import open_store
from registry.vault import Vault
from tests.support.postgres import url_of
from tiergate.service import open_gateway
from tiergate.tenant import Tier

_RIGHT, _WRONG = "the master key of this registry, long", "the master key of another registry, long"


def _settings(url: str, folder: Path, master_key: str) -> Settings:
    return load(
        None,
        {
            "registry.url": url,
            "secrets.master_key": master_key,
            "admin.key": "an admin key for this test only, long",
            "application.sql": folder,
        },
    )


async def test_a_gateway_with_a_wrong_master_key_does_not_start(database: str, tmp_path: Path) -> None:
    (tmp_path / "01.sql").write_text("SELECT 1;")
    url = url_of(database)
    await migrate(url, Vault(_RIGHT))
    right = _settings(url, tmp_path, _RIGHT)
    async with open_store(right.registry, Vault(_RIGHT)) as store:
        await store.add_cluster(
            "main",
            Tier.STANDARD,
            conninfo="host=127.0.0.1 port=5432",
            database="application",
            admin_user="postgres",
            admin_password="sealed",
            application_schema="app",
            actor="test",
        )
    wrong = _settings(url, tmp_path, _WRONG)

    with pytest.raises(SecretUnreadable):
        async with open_gateway(wrong, lambda: wrong):
            pass
