"""How a transaction becomes one tenant's: the exact message that is signed, and for whom."""

import hashlib
import hmac
from dataclasses import replace

import pytest

from pools.binding import Binding, bind
from pools.lease import Isolation, Transaction
from registry.placement import Place, PlaceId, Placement, TenantState
from tiergate.tenant import TenantId, Tier

PLACE = Place(
    id=PlaceId("pl_000000000001"), tier=Tier.STANDARD, cluster="main", conninfo="", database="d", schema="s",
    login="l", password="p", context_key=b"k" * 32, context_kid=7,
)  # fmt: skip
PLACEMENT = Placement(TenantId("acme"), Tier.STANDARD, TenantState.ACTIVE, PLACE, 42, None)


def bound(placement: Placement = PLACEMENT, *, pid: int = 99, now_s: float = 1_000.9) -> Binding:
    return bind(placement, pid=pid, now_s=now_s, timeout_ms=1500)


def test_the_signed_message_names_key_process_end_epoch_place_and_tenant() -> None:
    signed = b"enter|7|99|1060|42|pl_000000000001|acme"
    mac = hmac.new(b"k" * 32, signed, hashlib.sha256).hexdigest().encode()

    assert bound().params == (b"acme", b"pl_000000000001", b"42", b"7", b"1060", mac, b"1500")


@pytest.mark.parametrize(
    "other",
    [
        bound(pid=100),
        bound(now_s=1_002),
        bound(replace(PLACEMENT, epoch=43)),
        bound(replace(PLACEMENT, tenant=TenantId("acme-2"))),
        bound(replace(PLACEMENT, place=replace(PLACE, id=PlaceId("pl_000000000002")))),
        bound(replace(PLACEMENT, place=replace(PLACE, context_kid=8))),
        bound(replace(PLACEMENT, place=replace(PLACE, context_key=b"K" * 32))),
    ],
    ids=["process", "end", "epoch", "tenant", "place", "number of the key", "key"],
)
def test_another_fact_gives_another_signature(other: Binding) -> None:
    assert other.params[5] != bound().params[5]


POOLED = replace(PLACEMENT, place=replace(PLACE, via_pgbouncer=True))


def test_through_a_pooler_login_and_timeout_are_signed_instead_of_the_process() -> None:
    bound = bind(POOLED, pid=99, now_s=1_000.2, timeout_ms=1500, life_s=4.5)
    signed = b"enter-pooled|7|l|1005|1500|42|pl_000000000001|acme"
    mac = hmac.new(b"k" * 32, signed, hashlib.sha256).hexdigest().encode()

    assert bound.params == (b"acme", b"pl_000000000001", b"42", b"7", b"1005", b"p" + mac, b"1500")
    assert bound == bind(POOLED, pid=100, now_s=1_000.2, timeout_ms=1500, life_s=4.5)


@pytest.mark.parametrize(
    "other",
    [
        bind(POOLED, pid=99, now_s=1_000.2, timeout_ms=1501, life_s=4.5),
        bind(POOLED, pid=99, now_s=1_000.2, timeout_ms=1500, life_s=5.5),
        bind(replace(POOLED, place=replace(POOLED.place, login="m")), pid=99, now_s=1_000.2, timeout_ms=1500),
    ],
    ids=["timeout", "end", "login"],
)
def test_through_a_pooler_another_fact_gives_another_signature(other: Binding) -> None:
    assert other.params[5] != bind(POOLED, pid=99, now_s=1_000.2, timeout_ms=1500, life_s=4.5).params[5]


def test_in_the_shared_place_the_rights_are_taken_after_entering() -> None:
    assert (
        bound().sql
        == b"SELECT tiergate.enter($1,$2,$3,$4,$5,$6,$7), set_config('role', 'tiergate_app', true)"
    )


@pytest.mark.parametrize("tier", [Tier.PREMIUM, Tier.GOVERNMENT])
def test_in_a_place_of_its_own_the_login_has_the_rights(tier: Tier) -> None:
    own = replace(PLACEMENT, tier=tier, place=replace(PLACE, tier=tier))

    assert bound(own).sql == b"SELECT tiergate.enter($1,$2,$3,$4,$5,$6,$7)"


def test_neither_key_nor_password_shows_in_what_is_printed() -> None:
    shown = repr(replace(PLACEMENT, place=replace(PLACE, password="hidden", context_key=b"concealed")))

    assert "hidden" not in shown
    assert "concealed" not in shown


@pytest.mark.parametrize(
    ("transaction", "begin"),
    [
        (Transaction([]), b"BEGIN"),
        (Transaction([], read_only=True), b"BEGIN READ ONLY"),
        (Transaction([], Isolation.SERIALIZABLE), b"BEGIN ISOLATION LEVEL SERIALIZABLE"),
        (
            Transaction([], Isolation.SERIALIZABLE, read_only=True, deferrable=True),
            b"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        ),
        (Transaction([], Isolation.READ_UNCOMMITTED), b"BEGIN ISOLATION LEVEL READ UNCOMMITTED"),
    ],
)
def test_a_transaction_begins_as_it_was_asked_for(transaction: Transaction, begin: bytes) -> None:
    assert transaction.begin() == begin
