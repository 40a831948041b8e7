"""What a reproduction prints: a table for the terminal, in 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Column, Sheet
from spillover.report.verdict import interval, number, p_value, percent


def ranks_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The rows of table 1, in blocks of a model each; below a number its 95% interval."""
    numbers = ("facts", "rank", "chance", "p", "paper", "first", "chance")
    sheet = Sheet([Column(name="data set"), *(Column(name=name, numbers=True) for name in numbers)])
    model = None
    for row in rows:
        if row["model"] != model:
            if model is not None:
                sheet.end_section()
            model = row["model"]
            sheet.add_row(Text(model, style="bold"), *("" for _ in numbers))
        sheet.add_row(
            row["data"],
            percent(row["facts"]),
            (
                Text(number(row["rank_after"]), style="bold"),
                interval(row["rank_low"], row["rank_high"], share=False),
            ),
            number(row["rank_null"]),
            p_value(row["rank_p"]),
            number(row["paper_rank"]),
            (Text(percent(row["top1_after"]), style="bold"), interval(row["top1_low"], row["top1_high"])),
            percent(row["top1_null"]),
        )
    return sheet


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
