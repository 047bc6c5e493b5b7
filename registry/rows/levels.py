"""What operators want the logs of all processes to say for a while."""

import math

from registry.records import Entry
from registry.rows.asking import tell
from registry.rows.processes import Processes


class Levels(Processes):
    """A word to every process; nothing of it is kept but the audit's entry and what processes say of it."""

    async def tell_level(self, level: str, *, for_s: float, actor: str) -> int:
        """Tell every process that is there; the number of this word, by which they name it."""
        detail: dict[str, object] = {"level": level, "for_s": math.ceil(for_s)}
        async with self._changing() as connection:
            entry = Entry(actor, "gateway.log-level", "gateway", detail=detail)
            number = await self._write_down(connection, entry)
            await tell(connection, log_level={"level": level, "for_s": for_s, "number": number})
        return number
