"""What a reproduction prints of its checks, in 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from spillover.report.sheet import Column, Sheet


def checks_table(document: Mapping[str, Any]) -> RenderableType:
    """A reproduction's document: what holds, with what was measured below each statement."""
    table = Sheet([Column(least=13), Column(least=20)], headed=False)
    for check in document["checks"]:
        question = check["kind"] == "question"
        style = "bold" if question else "bold green" if check["holds"] else "bold red"
        statement = (check["statement"], Text(check["measured"], style="dim"))
        table.add_row(Text(check["verdict"], style=style), statement)
    where = f"{document['seconds']:.0f} s; chart.html, .svg, .pdf and table.csv in {document['run']}"
    said = document.get("advice") or []
    advice = [Text(said[0], style="bold"), Text(" ".join(said[1:]))] if said else []
    return Group(
        Text(document["name"], style="bold"),
        Text(document["claim"]),
        *advice,
        table,
        Text(where, style="dim"),
        Text(),
    )
