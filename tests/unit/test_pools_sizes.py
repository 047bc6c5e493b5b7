"""How many connections one pool may have."""

import asyncio
from dataclasses import replace

from pools.promises import Promises
from pools.queue import Waiter
from pools.sizes import Sizes
from tests.support.places import POOL


async def test_the_reserve_is_there_from_the_timeout_to_the_end_of_the_wait_and_no_longer() -> None:
    limits = replace(POOL, default_pool_size=2, reserve_pool_size=1, reserve_pool_timeout=0.01)
    sizes, is_open = Sizes(limits, Promises(10), is_warm=False), asyncio.Event()
    waiter: Waiter = asyncio.get_running_loop().create_future()
    sizes.wait(waiter, is_open.set)
    assert sizes.most == 2
    async with asyncio.timeout(5):
        await is_open.wait()
    assert sizes.most == 3
    sizes.end(waiter)
    assert sizes.most == 2
