"""The table of a reproduction for people: what its columns are, for the terminal, a page and LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Cell, Sheet
from spillover.report.sheet import Column as SheetColumn
from spillover.report.verdict import interval, number, p_value, percent
from spillover.reproduce.figure import Row


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of texts or numbers, each made from a row."""

    name: str
    text: Callable[[Row], str]
    interval: Callable[[Row], str] | None = None
    """Of a number: its 95% interval."""
    numbers: bool = True
    narrow: str | None = ""
    """Its name in the terminal, if it is another; None where it has no room there."""

    @property
    def heading(self) -> str:
        """On the page."""
        return f"{self.name} [95%]" if self.interval else self.name

    def cell(self, row: Row) -> str:
        """On the page, on one line."""
        return f"{self.text(row)} [{self.interval(row)}]" if self.interval else self.text(row)


def named(field: str, name: str | None = None, *, narrow: str | None = "") -> Column:
    """A column of texts."""
    return Column(name=name or field, text=lambda row: str(row[field]), numbers=False, narrow=narrow)


def counted(field: str, name: str | None = None, *, narrow: str | None = "") -> Column:
    """A column of whole numbers."""
    return Column(name=name or field, text=lambda row: str(row[field]), narrow=narrow)


def share(field: str, name: str | None = None, *, narrow: str | None = "") -> Column:
    """A column of shares, in percent."""
    return Column(name=name or field, text=lambda row: percent(row[field]), narrow=narrow)


def valued(field: str, name: str | None = None, *, narrow: str | None = "") -> Column:
    """A column of ranks or margins."""
    return Column(name=name or field, text=lambda row: number(row[field]), narrow=narrow)


def p_of(field: str, *, narrow: str | None = "") -> Column:
    """A column of p-values."""
    return Column(name="p", text=lambda row: p_value(row[field]), narrow=narrow)


RANK = Column(
    name="mean rank",
    text=lambda row: number(row["rank_after"]),
    interval=lambda row: interval(row["rank_low"], row["rank_high"], share=False),
    narrow="rank",
)
TOP1 = Column(
    name="first",
    text=lambda row: percent(row["top1_after"]),
    interval=lambda row: interval(row["top1_low"], row["top1_high"]),
)
RANK_CHANCE, TOP1_CHANCE = valued("rank_null", "chance"), share("top1_null", "chance")
RANK_P, TOP1_P = p_of("rank_p"), p_of("top1_p", narrow=None)


def table_of(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Headings, then a line for each row."""
    return [
        tuple(column.heading for column in columns),
        *(tuple(column.cell(row) for column in columns) for row in rows),
    ]


def sheets_of(columns: Sequence[Column], rows: Sequence[Row]) -> RenderableType:
    """For the terminal, a sheet for each text of the first column; below a number stands its interval."""
    first, *others = (column for column in columns if column.narrow is not None)
    parts: list[RenderableType] = []
    for block, mine in groupby(rows, first.text):
        made = Sheet([SheetColumn(name=each.narrow or each.name, numbers=each.numbers) for each in others])
        for row in mine:
            made.add_row(*(_cell(column, row) for column in others))
        parts += [Text(block, style="bold"), made]
    return Group(*parts)


def _cell(column: Column, row: Row) -> Cell:
    if column.interval is None:
        return column.text(row)
    return Text(column.text(row), style="bold"), column.interval(row)


def latex(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table for a paper's appendix (with booktabs), a block for each text of the first column."""
    headings, *lines = table_of(columns, rows)
    align = "".join("r" if column.numbers else "l" for column in columns)
    made = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        _tex_line(headings),
    ]
    block = None
    for texts in lines:
        made += [] if texts[0] == block else [r"\midrule"]
        block = texts[0]
        made.append(_tex_line(texts))
    return "\n".join([*made, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex_line(texts: Sequence[str]) -> str:
    return " & ".join(text.translate(_TEX) for text in texts) + r" \\"


_TEX = str.maketrans(
    {c: "\\" + c for c in "%#_{}$&"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "–": "--"}  # noqa: RUF001
)
