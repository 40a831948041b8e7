"""What a reproduction prints: a table for the terminal, in 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def checks_table(document: Mapping[str, Any]) -> RenderableType:
    """A reproduction's document: what holds, with what was measured below each statement."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    table.add_column("verdict", min_width=13)
    table.add_column("statement", overflow="fold")
    for check in document["checks"]:
        question = check["kind"] == "question"
        style = "bold" if question else "bold green" if check["holds"] else "bold red"
        text = Text.assemble(check["statement"], "\n", (check["measured"], "dim"))
        table.add_row(Text(check["verdict"], style=style), text)
    where = f"{document['seconds']:.0f} s; chart.html, .svg, .pdf and table.csv in {document['run']}"
    return Group(
        Text(document["name"], style="bold"), Text(document["claim"]), table, Text(where, style="dim"), Text()
    )
