"""What tenants use: counted, written down, and measured, for as long as a gateway process lives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from config.settings import Usage
from fleet.measuring import Measurer
from observe.meter import Meter
from registry.store import Store
from registry.usage import Bookkeeper
from tiergate.background import running
from tiergate.events import Emit


@dataclass(frozen=True, slots=True)
class Accounts:
    """What one process keeps of it.

    Attributes:
        meter: To be told of requests.
    """

    meter: Meter
    books: Bookkeeper

    def apply(self, usage: Usage) -> None:
        """Go by these settings from now on."""
        self.books.every_s, self.books.keep_days = usage.write_every_s, usage.keep_days


@asynccontextmanager
async def open_accounts(usage: Usage, store: Store, process: str, emit: Emit) -> AsyncIterator[Accounts]:
    """Count and write until the end of the block; what is counted by then is written, too."""
    meter = Meter()
    books = Bookkeeper(
        store, process, meter, every_s=usage.write_every_s, keep_days=usage.keep_days, emit=emit
    )
    try:
        async with running({"usage": books.run(), "storage": Measurer(store, emit=emit).run()}):
            yield Accounts(meter, books)
    finally:
        await books.close()
