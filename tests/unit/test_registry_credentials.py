"""What an API key looks like, and which ones are believed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.cache import Cache
from registry.credentials import Credential, Keys, Scope, key_id, new_key
from registry.errors import RegistryUnavailable, UnknownKey
from registry.limits import Limits
from tests.support.waiting import wait_until
from tiergate.deadline import Deadline
from tiergate.events import Event
from tiergate.tenant import TenantId

LIMITS = Limits(size=100, ttl_s=60, negative_ttl_s=5, stale_for_s=600, load_timeout_s=5)
ACME = TenantId("acme")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def soon() -> Deadline:
    return Deadline.after(5)


@dataclass
class Ledger:
    """A registry's credentials, in memory."""

    kept: dict[str, Credential] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    touched: list[set[str]] = field(default_factory=list)
    is_down: bool = False
    tries: int = 0

    async def credential(self, key_id: str) -> Credential | None:
        self.asked.append(key_id)
        return self.kept.get(key_id)

    async def touch_credentials(self, key_ids: Collection[str]) -> None:
        self.tries += 1
        if self.is_down:
            raise RegistryUnavailable("down")
        self.touched.append(set(key_ids))

    def add(self, credential: Credential) -> None:
        self.kept[credential.id] = credential


@dataclass
class Bench:
    cache: Cache[str, Credential]
    ledger: Ledger
    now: datetime = NOON
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = Keys(self.cache, self.ledger, emit=self.told.append, now=lambda: self.now)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    ledger = Ledger()
    async with Cache("credential", ledger.credential, LIMITS, emit=lambda _event: None) as cache:
        yield Bench(cache, ledger)


def test_a_key_is_its_prefix_its_id_and_256_random_bits() -> None:
    text, credential = new_key(ACME, [Scope.READ, Scope.WRITE])
    prefix, shown, secret = text.split("_", 2)

    assert (prefix, shown, len(shown), len(secret)) == ("tg", credential.id, 12, 43)
    assert credential.scopes == {Scope.READ, Scope.WRITE}
    assert new_key(ACME, [Scope.READ])[0] != text


def test_a_credential_does_not_hold_the_secret() -> None:
    text, credential = new_key(ACME, [Scope.READ])
    secret = text.split("_", 2)[2]

    assert secret not in repr(credential)
    assert secret.encode() not in credential.digest


def test_every_new_key_is_read_back() -> None:
    for _ in range(200):  # the secret may itself hold underscores
        text, credential = new_key(ACME, [Scope.READ])

        assert key_id(text) == credential.id


@given(st.text(max_size=80))
def test_any_text_is_no_key_rather_than_an_error(text: str) -> None:
    assert key_id(text) is None


async def test_a_valid_key_is_believed_first_by_asking_and_then_from_memory(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)

    assert bench.keys.check_now(text) is None
    assert await bench.keys.check(text, soon()) == credential
    assert bench.keys.check_now(text) == credential
    assert bench.ledger.asked == [credential.id]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: text.upper(),
        lambda text: "tx" + text[2:],
        lambda text: text + "\n",
        lambda text: text[:-1] + "é",
        lambda text: text[:-1] + "\ud800",
        lambda _text: "",
    ],
)
async def test_a_text_that_differs_by_one_character_is_not_believed(
    bench: Bench, spoil: Callable[[str], str]
) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)
    await bench.keys.check(text, soon())
    spoiled = spoil(text)

    assert bench.keys.check_now(spoiled) is None
    with pytest.raises(UnknownKey):
        await bench.keys.check(spoiled, soon())


async def test_a_text_that_cannot_be_a_key_is_refused_without_asking(bench: Bench) -> None:
    with pytest.raises(UnknownKey):
        await bench.keys.check("'; drop table credential; --", soon())

    assert bench.ledger.asked == []


async def test_a_key_ends_when_it_expires_even_in_memory(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ], expires_at=NOON + timedelta(hours=1))
    bench.ledger.add(credential)
    await bench.keys.check(text, soon())

    bench.now = NOON + timedelta(hours=1)

    assert bench.keys.check_now(text) is None
    with pytest.raises(UnknownKey):
        await bench.keys.check(text, soon())


async def test_a_revoked_key_is_not_believed_once_its_revocation_is_heard(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)
    await bench.keys.check(text, soon())
    bench.ledger.add(replace(credential, revoked_at=NOON))

    bench.keys.forget(credential.id)

    assert bench.keys.check_now(text) is None
    with pytest.raises(UnknownKey):
        await bench.keys.check(text, soon())


async def test_two_keys_of_a_tenant_are_valid_at_once_for_rotation(bench: Bench) -> None:
    old, new = new_key(ACME, [Scope.READ]), new_key(ACME, [Scope.READ])
    for _text, credential in (old, new):
        bench.ledger.add(credential)

    assert await bench.keys.check(old[0], soon()) == old[1]
    assert await bench.keys.check(new[0], soon()) == new[1]


async def test_a_key_in_use_is_noted_once_an_hour(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)
    noted = []
    for minutes in (0, 1, 30, 60):
        bench.now = NOON + timedelta(minutes=minutes)
        await bench.keys.check(text, soon())
        noted.append(await bench.keys.run_once())

    assert noted == [1, 0, 0, 1]
    assert bench.ledger.touched == [{credential.id}, {credential.id}]


async def test_a_key_that_was_refused_is_not_noted_as_in_use(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(replace(credential, revoked_at=NOON))
    with pytest.raises(UnknownKey):
        await bench.keys.check(text, soon())

    assert await bench.keys.run_once() == 0


async def test_a_note_that_failed_is_made_the_next_time(bench: Bench) -> None:
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)
    await bench.keys.check(text, soon())
    bench.ledger.is_down = True
    with pytest.raises(RegistryUnavailable):
        await bench.keys.run_once()

    bench.ledger.is_down = False

    assert await bench.keys.run_once() == 1


async def test_a_registry_that_is_away_is_no_failure_of_the_loop_that_notes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.credentials._TOUCH_EVERY_S", 0)
    text, credential = new_key(ACME, [Scope.READ])
    bench.ledger.add(credential)
    await bench.keys.check(text, soon())
    bench.ledger.is_down = True
    noting = asyncio.create_task(bench.keys.run())
    try:
        await wait_until(lambda: bench.ledger.tries > 3, what="some tries")
        bench.ledger.is_down = False
        await wait_until(lambda: bench.ledger.touched, what="the note")
    finally:
        noting.cancel()

    assert bench.ledger.touched == [{credential.id}]
    assert not bench.told
