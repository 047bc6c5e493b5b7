"""Tables that fit a terminal of any width: columns give way, the least needed first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tiergate.cli.text import printable

_GAP = 1
BAD = "bold red"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        width: In cells; of a text the least, it takes what room there is.
        rank: Those with the highest go first when there is too little room.
    """

    title: str
    width: int
    rank: int = 0
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table; what *is_bad* stands out, with and without colour."""

    cells: Sequence[str]
    is_bad: bool = False


def lines(columns: Sequence[Column], rows: Iterable[Line], width: int) -> list[Text]:
    """The head and a line for each row, none wider than *width*."""
    kept = list(range(len(columns)))
    while len(kept) > 1 and _least(columns[number] for number in kept) > width - 1:
        kept.remove(max(kept, key=lambda number: (columns[number].rank, number)))
    widths = _widths([columns[number] for number in kept], width - 1)
    head = _line([columns[number].title for number in kept], columns, kept, widths)
    shown = [Text(crop(f" {head}", width, fill=True), style="reverse")]
    for row in rows:
        text = _line([row.cells[number] for number in kept], columns, kept, widths)
        mark = "!" if row.is_bad else " "
        shown.append(Text(crop(mark + text, width), style=BAD if row.is_bad else ""))
    return shown


def crop(text: str, width: int, *, fill: bool = False) -> str:
    """*text*, harmless, on one line, and no wider than *width*; with *fill* exactly as wide."""
    text = printable(text).replace("\n", " ").replace("\t", " ")
    if cell_len(text) > width:
        return set_cell_size(text, width)
    return set_cell_size(text, width) if fill else text.rstrip()


def wrap(text: str, width: int, *, most: int) -> list[str]:
    """*text* on *most* lines at most, broken between words where that is possible."""
    left, shown = crop(text, len(text) * 6 + 1), list[str]()
    while left and len(shown) < most:
        part = set_cell_size(left, width) if cell_len(left) > width else left
        if part != left and len(shown) + 1 < most and " " in part.strip():
            part = part[: part.rindex(" ") + 1] if left[: len(part) + 1].rstrip() != part.rstrip() else part
        shown.append(part.rstrip())
        left = left[len(part) :].lstrip()
    return shown


def _least(columns: Iterable[Column]) -> int:
    return sum(column.width + _GAP for column in columns) - _GAP


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    free = max(0, width - _least(columns))
    growing = sum(column.is_text for column in columns)
    widths = []
    for column in columns:
        share = free // growing if column.is_text else 0
        free, growing = free - share, growing - column.is_text
        widths.append(column.width + share)
    return widths


def _line(cells: Sequence[str], columns: Sequence[Column], kept: Sequence[int], widths: Sequence[int]) -> str:
    parts = []
    for cell, number, width in zip(cells, kept, widths, strict=True):
        text = crop(cell, width)
        room = " " * (width - cell_len(text))
        parts.append(text + room if columns[number].is_text else room + text)
    return (" " * _GAP).join(parts)
