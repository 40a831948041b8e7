"""Tables for terminals of any width: a grid where its numbers fit whole, else a paragraph for each row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Line = str | Text
Cell = Line | tuple[Line, ...]
"""A text, or several lines."""

_BOX = box.SIMPLE_HEAD
_ASCII = box.Box(str(_BOX).replace("─", "-"), ascii=True)
_GAP = 2  # between columns


@dataclass(frozen=True, kw_only=True)
class Column:
    """What stands below one another."""

    name: str = ""
    """May have lines."""
    numbers: bool = False
    """To the right and never broken; other columns are folded."""
    least: int = 10
    """Characters that texts may be folded to."""
    most: int | None = None
    """Characters that texts are folded to, however wide the terminal."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell for each column."""

    cells: tuple[tuple[Line, ...], ...]
    """The lines of each."""
    ends: bool = False
    """Whether a gap follows it."""


@dataclass
class Sheet:
    """A table that loses no digit, in whatever width; a renderable of rich."""

    columns: Sequence[Column]
    headed: bool = True
    rows: list[Row] = field(default_factory=list)

    def add_row(self, *cells: Cell) -> None:
        """Add a row, a cell for each column."""
        self.rows.append(Row(cells=tuple(cell if isinstance(cell, tuple) else (cell,) for cell in cells)))

    def end_section(self) -> None:
        """Part the last row from the next one, if another follows."""
        self.rows[-1] = replace(self.rows[-1], ends=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self._least_width() <= options.max_width:
            yield self._grid(_ASCII if options.ascii_only else _BOX)
        else:
            for row in self.rows:
                yield from self._paragraph(row)
            yield Text()

    def _least_width(self) -> int:
        widths = []
        for place, column in enumerate(self.columns):
            heading = [Text(line) for line in column.name.split("\n")] if self.headed else []
            lines = heading + [_text((line,)) for row in self.rows for line in row.cells[place]]
            width = max((line.cell_len for line in lines), default=0)
            widths.append(width if column.numbers else min(width, column.least))
        return sum(widths) + _GAP * (len(widths) - 1) + 2

    def _grid(self, lines: box.Box) -> Table:
        table = Table(box=lines, padding=(0, 1, 0, 0), pad_edge=False, show_header=self.headed)
        for column in self.columns:
            table.add_column(
                column.name,
                justify="right" if column.numbers else "left",
                no_wrap=column.numbers,
                overflow="fold",
                max_width=column.most,
            )
        for row in self.rows:
            table.add_row(*map(_text, row.cells), end_section=row.ends and row is not self.rows[-1])
        return table

    def _paragraph(self, row: Row) -> Iterator[RenderableType]:
        """Its texts, then a line for each of its numbers."""
        cells = [(column, _text(cell, ", ")) for column, cell in zip(self.columns, row.cells, strict=True)]
        cells = [(column, text) for column, text in cells if text.plain]
        names = {column: column.name.replace("-\n", "").replace("\n", " ") for column, _ in cells}
        widest = max((len(name) for column, name in names.items() if column.numbers), default=0)
        yield Text(", ").join(text for column, text in cells if not column.numbers)
        for column, text in cells:
            if column.numbers:
                yield Padding(Text.assemble(names[column].ljust(widest + _GAP), text), (0, 0, 0, 2))
        if (row.ends or not widest) and row is not self.rows[-1]:
            yield Text()


def _text(lines: tuple[Line, ...], between: str = "\n") -> Text:
    return Text(between).join(line if isinstance(line, Text) else Text(line) for line in lines)
