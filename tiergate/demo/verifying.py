"""Whether what the demo has brought up keeps its tenants apart, asked before anybody is let in."""

import asyncio
from dataclasses import asdict

from tiergate.errors import TiergateError
from tiergate.service import Gateway
from verify.site import Asked

_LONGEST_S = 20.0
"""It takes 3 s; a machine that is so busy that it takes longer is not kept waiting."""


async def verify(gateway: Gateway) -> dict[str, object]:
    """What a verification came to: its counts, or `error` with what kept it from its end."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            tally = await gateway.verification.run(Asked(), actor="demo", tell=lambda _checked: None)
    except TimeoutError:
        return {"error": f"it was given up after {_LONGEST_S:g} s"}
    except TiergateError as error:
        return {"error": str(error)}
    return asdict(tally)


def sentence(verdict: dict[str, object]) -> str:
    """The one line that says so."""
    if "error" in verdict:
        return f"verify: {verdict['error']}. Run tiergate verify."
    if verdict["failed"]:
        return f"verify: {verdict['checks']} checks, {verdict['failed']} FAILED. Run tiergate verify."
    return f"verify: {verdict['checks']} checks, all well."
