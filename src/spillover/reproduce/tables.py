"""What a reproduction prints: a table for the terminal, in 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spillover.report.verdict import interval, number, p_value, percent


def ranks_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rows of table 1: a block for each model."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("data set", overflow="fold", max_width=14)
    for name in ("facts", "rank", "95%", "chance", "p", "paper", "first", "95%", "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    model = None
    for row in rows:
        if row["model"] != model:
            model = row["model"]
            table.add_section()
            table.add_row(Text(model, style="bold"))
        table.add_row(
            Text(row["data"]),
            percent(row["facts"]),
            Text(number(row["rank_after"]), style="bold"),
            interval(row["rank_low"], row["rank_high"], share=False),
            number(row["rank_null"]),
            p_value(row["rank_p"]),
            number(row["paper_rank"]),
            Text(percent(row["top1_after"]), style="bold"),
            interval(row["top1_low"], row["top1_high"]),
            percent(row["top1_null"]),
        )
    return table


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
