"""The table of a reproduction for people: what its columns are, for the terminal, a page and LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Cell, Sheet
from spillover.report.sheet import Column as SheetColumn
from spillover.report.verdict import interval, number, p_value, percent
from spillover.reproduce.figure import Row
from spillover.reproduce.save import PageTable

_LETTERS = 18  # of a line of text in the terminal


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
        """On one line."""
        return f"{self.name} [95%]" if self.interval else self.name

    def cell(self, row: Row) -> str:
        """On one line."""
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


def table_of(columns: Sequence[Column], rows: Sequence[Row]) -> PageTable:
    """For a page, a block for each text of the first column; below a number stands its interval."""
    first, *others = columns
    return PageTable(
        headings=[(column.name, "[95%]") if column.interval else (column.name,) for column in others],
        numbers=[column.numbers for column in others],
        blocks=[
            (block, [[_lines(column, row) for column in others] for row in mine])
            for block, mine in groupby(rows, first.text)
        ],
    )


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


def _lines(column: Column, row: Row) -> tuple[str, ...]:
    """A text, or a number and its interval."""
    text = column.text(row)
    return (text, column.interval(row)) if column.interval else (text,)


def _cell(column: Column, row: Row) -> Cell:
    if not column.numbers:
        return tuple(wrap(column.text(row), _LETTERS)) or ("",)  # also behind a hyphen
    number, *below = _lines(column, row)
    return (Text(number, style="bold"), *below) if below else number


def latex(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table for a paper's appendix (with booktabs), a block for each text of the first column."""
    first, *others = columns
    made = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('r' if column.numbers else 'l' for column in others)}}}",
        r"\toprule",
        _tex_line([column.heading for column in others]),
    ]
    for block, mine in groupby(rows, first.text):
        made += [r"\midrule", rf"\multicolumn{{{len(others)}}}{{l}}{{{block.translate(_TEX)}}} \\"]
        made += [_tex_line([column.cell(row) for column in others]) for row in mine]
    return "\n".join([*made, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex_line(texts: Sequence[str]) -> str:
    return " & ".join(text.translate(_TEX) for text in texts) + r" \\"


_TEX = str.maketrans(
    {c: "\\" + c for c in "%#_{}$&"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "–": "--"}  # noqa: RUF001
)
