"""What may go wrong with a move. Whatever it is, the tenant goes on where the fence says."""

from tiergate.errors import TiergateError
from tiergate.tenant import TenantId


class MoveSuperseded(TiergateError):
    """Another worker has taken the move over."""

    code = "move-superseded"
    advice = "Nothing is to be done: the other worker goes on with it."

    def __init__(self, move: str) -> None:
        super().__init__(f"move {move} is another worker's by now")
        self.move = move


class MoveRefused(TiergateError):
    """A move would fail, or lose something, as things are; nothing was changed."""

    code = "move-refused"
    advice = "Change what the message names, then ask again; `--dry-run` looks without moving."

    def __init__(self, tenant: TenantId, reasons: tuple[str, ...]) -> None:
        super().__init__(f"tenant {tenant!r} cannot be moved: {'; '.join(reasons)}")
        self.tenant = tenant
        self.reasons = reasons


class PlaceNotEmpty(TiergateError):
    """The place that a tenant has left holds what the tenant made by itself; it is not removed."""

    code = "move-place-not-empty"
    advice = "Bring what the message names over by hand, or drop it: the cleaning goes on by itself then."

    def __init__(self, place: str, strays: tuple[str, ...]) -> None:
        super().__init__(f"place {place!r} is not removed: it holds {', '.join(strays)}")
        self.place = place
        self.strays = strays


class StructureChanged(TiergateError):
    """The tables at the two ends are not alike, or not any more."""

    code = "move-structure-changed"
    advice = "The move is aborted. Bring both places to the same SQL files, then ask for it again."

    def __init__(self, tenant: TenantId, why: str) -> None:
        super().__init__(f"the tables of tenant {tenant!r} are not alike at both ends: {why}")
        self.tenant = tenant


class RowsDiffer(TiergateError):
    """A row at the target is not what it is at the source."""

    code = "move-rows-differ"
    advice = "The move is aborted, and the tenant stays where it was. Keep the message: it names the row."

    def __init__(self, tenant: TenantId, table: str, key: str) -> None:
        super().__init__(
            f"tenant {tenant!r}: table {table!r}, key {key}: the copy is not what the source has"
        )
        self.tenant = tenant
        self.table = table
        self.key = key


class CutoverMissed(TiergateError):
    """The tenant's running transactions did not end within the time that the others may wait."""

    code = "move-cutover-missed"
    retryable = True
    advice = "It is tried again. If it never succeeds, look for long transactions with `tiergate show`."

    def __init__(self, tenant: TenantId, why: str) -> None:
        super().__init__(f"the cut-over of tenant {tenant!r} was put off: {why}")
        self.tenant = tenant
