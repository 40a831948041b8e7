"""What a reproduction prints: a table for the terminal, in 80 columns."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Column, Sheet
from spillover.reproduce.figure import Row
from spillover.reproduce.study import Cell, Table


def study_table(table: Table, rows: Sequence[Row]) -> RenderableType:
    """A study's rows, in its sections."""
    names = ["\n".join(heading).strip() for heading in table.columns]
    sheet = Sheet([Column(least=14), *(Column(name=name, numbers=True) for name in names)])
    for number, (section, mine) in enumerate(sections(table, rows)):
        if number:
            sheet.end_section()
        sheet.add_row(Text(section, style="bold"), *("" for _ in names))
        for name, cells in mine:
            sheet.add_row(name, *((Text(cell[0], style="bold"), *cell[1:]) for cell in cells))
    return sheet


def sections(table: Table, rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, list[Cell]]]]]:
    """(section, its rows: (name, a cell for each column))"""
    return [
        (section, [(table.name(row), [show(row) for show in table.columns.values()]) for row in mine])
        for section, mine in groupby(rows, table.section)
    ]


def checks_table(document: Mapping[str, Any]) -> RenderableType:
    """A reproduction's document: what holds, with what was measured below each statement."""
    table = Sheet([Column(least=13), Column(least=20)], headed=False)
    for check in document["checks"]:
        question = check["kind"] == "question"
        style = "bold" if question else "bold green" if check["holds"] else "bold red"
        statement = (check["statement"], Text(check["measured"], style="dim"))
        table.add_row(Text(check["verdict"], style=style), statement)
    where = f"{document['seconds']:.0f} s; chart.html, .svg, .pdf and table.csv in {document['run']}"
    return Group(
        Text(document["name"], style="bold"), Text(document["claim"]), table, Text(where, style="dim"), Text()
    )
