"""Who crowds out the others is named, whichever process of whichever gateway served it."""

import asyncio
import re
from pathlib import Path

import httpx

from tests.support.commands import Ran, clean_env, open_commands
from tests.support.gateways import ADMIN_KEY
from tests.support.orders import ACME, CLUSTER, OTHER, Pair, open_ground, open_pair
from tests.support.waiting import wait_until
from tiergate.tenant import TenantId

ROOT = Path(__file__).parents[2]
LOUD, QUIET = 900, 300


async def ask_often(pair: Pair, tenant: TenantId, times: int) -> None:
    """Ask both gateways in turn, on connections that each client keeps."""
    left = iter(range(times))

    async def caller(client: httpx.AsyncClient) -> None:
        for number in left:
            serving = (pair.a, pair.b)[number % 2]
            answer = await serving.sql(pair.ground.key(tenant), "SELECT 1", client=client)
            assert answer.is_success, answer.text

    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(caller(client))


async def test_who_makes_most_of_the_requests_is_named_by_the_command_with_what_to_do() -> None:
    async with open_ground() as ground, open_pair(ground) as pair, open_commands(ROOT) as commands:
        env = clean_env(TIERGATE_ADMIN_URL=pair.a.admin, TIERGATE_ADMIN_KEY=ADMIN_KEY)

        async def advise(*words: str) -> Ran:
            ran = await commands.run(("advise", *words), env, ground.site.folder)
            assert ran.code == 0, ran.err
            return ran

        await asyncio.gather(ask_often(pair, ACME, LOUD), ask_often(pair, OTHER, QUIET))

        async def is_whole() -> bool:
            [cluster] = (await pair.a.ask_admin("GET", "/advice")).json()["clusters"]
            return bool(cluster["requests"] > 0.98 * (LOUD + QUIET))  # they fade

        await wait_until(is_whole, what="every process to tell whom it works for")
        told = (await advise("--json", "--tier", "standard", "--cluster", CLUSTER)).json()
        loud, quiet = told["tenants"]
        assert (told["processes"], told["untold"]) == (3, 0)
        assert (loud["tenant"], loud["to"]) == (ACME, "premium")
        assert (quiet["tenant"], quiet["to"]) == (OTHER, None)
        assert abs(loud["requests_share"] - 0.75) < 0.02
        assert abs(quiet["requests_share"] - 0.25) < 0.02
        assert "requests" in loud["signals"]
        shown = (await advise()).out
        assert re.search(rf"{ACME} makes 7[3-7] % of the requests", shown)
        assert "There is no premium cluster yet." in shown
        assert (await advise("--tier", "premium")).out.startswith("No tenant stands out.\n")
