"""What the registry is asked for now and then: open moves, how long they stand still, and keys."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from registry.admin_keys import Role, new_admin_key
from registry.credentials import Scope, new_key
from registry.migrations import migrate
from registry.moves import Timing
from registry.store import Store
from tests.support.postgres import url_of
from tests.support.writers import VAULT, open_registry
from tiergate.counting import Counts
from tiergate.events import Event
from tiergate.happenings.registry import RegistryCounted
from tiergate.tenant import TenantId, Tier

ACME = TenantId("acme")


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    """A registry with acme on the standard tier, and a cluster for premium ones."""
    await migrate(url_of(database), VAULT)
    async with open_registry(url_of(database)) as store:
        for tier in (Tier.STANDARD, Tier.PREMIUM):
            await store.add_cluster(
                f"{tier}-1", tier, conninfo="host=db.example.com port=5432", database="app",
                admin_user="postgres", admin_password="s3cret", application_schema="app", actor="alice",
                region=None,
            )  # fmt: skip
        await store.create_tenant(ACME, Tier.STANDARD, application_schema="app", region=None, actor="alice")
        for shared in await store.places("standard-1"):
            await store.mark_place_ready(shared.place.id, actor="alice")
        await store.activate(ACME, actor="alice")
        yield store


class Clock:
    """Tells the time that it was told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_move_that_does_not_go_on_stands_still_until_something_comes_of_it(store: Store) -> None:
    clock, heard = Clock(), list[Event]()
    counts = Counts(store, emit=heard.append, now=clock)
    timing = Timing(holds=False, cut_at=None, soak_s=0)
    await store.plan_move(
        ACME, Tier.PREMIUM, cluster=None, timing=timing, application_schema="app", actor="a"
    )
    found = []
    for _ in range(3):
        found.append(await counts.run_once())
        clock.now_s += 100
    taken = await store.claim_move("w", for_s=60)
    assert taken is not None
    await store.renew_move(taken, for_s=60, progress={"copied": {"rows": 1}})
    found.append(await counts.run_once())
    await store.ask_move(taken.id, "pause", actor="a")
    clock.now_s += 100
    found.append(await counts.run_once())

    assert [each.move_idle_s for each in found] == [0, 100, 200, 0, 0]
    assert found[0].moves == {"planned": 1}
    assert heard == found


async def test_keys_of_operators_are_counted_by_whether_they_will_expire(store: Store) -> None:
    now = datetime.now(UTC)
    ends = {"ann": None, "bob": now + timedelta(days=30), "eve": now + timedelta(days=3)}
    for name, expires_at in ends.items():
        _, key = new_admin_key(name, Role.VIEWER, expires_at=expires_at)
        await store.add_admin_key(key, actor="alice")
    _, revoked = new_admin_key("joe", Role.OWNER, expires_at=now + timedelta(days=3))
    await store.add_admin_key(revoked, actor="alice")
    await store.revoke_admin_key(revoked.id, actor="alice")

    counted = await Counts(store, emit=lambda _event: None).run_once()

    assert counted.admin_keys == {"active": 2, "expiring": 1, "expired": 0}
    assert counted.credentials == {"active": 0, "expiring": 0, "expired": 0}


async def test_keys_are_counted_by_whether_they_will_expire(store: Store) -> None:
    now = datetime.now(UTC)
    for expires_at in (None, now + timedelta(days=30), now + timedelta(days=3), now - timedelta(days=1)):
        _, credential = new_key(ACME, [Scope.READ], expires_at=expires_at)
        await store.add_credential(credential, actor="alice")
    _, revoked = new_key(ACME, [Scope.READ])
    await store.add_credential(revoked, actor="alice")
    await store.revoke_credential(revoked.id, actor="alice")

    counted = await Counts(store, emit=lambda _event: None).run_once()

    assert isinstance(counted, RegistryCounted)
    assert counted.credentials == {"active": 2, "expiring": 1, "expired": 1}
    assert set(counted.context_key_age_s) == {"standard-1", "premium-1"}
    assert 0 <= counted.context_key_age_s["standard-1"] < 60
