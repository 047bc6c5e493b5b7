"""Moves that go on without a worker: the registry alone hears of their steps."""

from registry.moves import Move, MoveId, MoveState
from registry.store import Store

_WAY = (
    MoveState.PREPARING, MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFYING,
    MoveState.READY, MoveState.CUTTING_OVER,
)  # fmt: skip


async def steps_to(store: Store, number: str, state: MoveState) -> Move:
    """Claim a planned move, and bring it to *state*, on the way to the cut-over."""
    move = await store.claim_move("w", for_s=60, only=MoveId(number))
    assert move is not None
    for each in _WAY[: _WAY.index(state) + 1]:
        move = await store.advance_move(move, each)
    return move


async def cut_over(store: Store, number: str) -> Move:
    """Claim a planned move, and say that its cut-over has happened; no row of the tenant's is touched."""
    move = await steps_to(store, number, MoveState.CUTTING_OVER)
    move = await store.begin_cutover(move, hold_s=5)
    assert move.target_epoch is not None
    await store.publish_move(move.id, move.target_epoch)
    return await store.move(move.id)
