"""What every verb prints with: JSON or tables on stdout, progress bars on stderr."""

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spillover.cli.streams import UTF_8, spelled, visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[bool, Parameter(help="Print one JSON document on stdout instead of a table.", negative="")]
"""The flag that every verb with results has."""


def print_json(document: Any) -> None:
    """Print one strict JSON document; NaN becomes null."""
    from spillover.runs.files import jsonable

    document = jsonable(document)
    text = visible_json(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or UTF_8)
    except UnicodeEncodeError:
        text = visible_json(json.dumps(document, indent=2, allow_nan=False))
    print(text, flush=True)


def print_line(line: str) -> None:
    """Print one line of results."""
    print(visible(line), flush=True)


def tell(message: str) -> None:
    """Print a message, one line, on stderr."""
    print(visible(message), file=sys.stderr)


def print_rich(renderable: "RenderableType") -> None:
    """Print a table or text as wide as the terminal, in what the terminal can show."""
    from rich.console import Console

    console = Console()
    console.print(_shown(renderable, console))


def _shown(part: Any, console: "Console") -> Any:
    """The same with every text harmless and spelled in the encoding of stdout, before it is laid out."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from spillover.report.sheet import Row, Sheet

    match part:
        case str():
            return spelled(visible(part))
        case Text():
            shown = part.blank_copy()
            for segment in part.render(console):
                shown.append(_shown(segment.text, console), segment.style)
            return shown
        case tuple():
            return tuple(_shown(one, console) for one in part)
        case Row():
            return replace(part, cells=_shown(part.cells, console))
        case Sheet():
            return replace(part, rows=[_shown(row, console) for row in part.rows])
        case Padding():
            return Padding(_shown(part.renderable, console), (part.top, part.right, part.bottom, part.left))
        case Group():
            return Group(*(_shown(one, console) for one in part.renderables))
    raise TypeError(f"cannot print a {type(part).__name__}")


class Bars:
    """Progress bars on stderr: one per stage, drawn when the stage first reports."""

    def __enter__(self) -> "Bars":
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        if console.width < 80:
            columns = (TextColumn("{task.description:<18.18}", markup=False), MofNCompleteColumn())
        else:
            columns = (
                TextColumn("{task.description:<24.24}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
        self._bars = Progress(*columns, console=console)
        self._tasks: dict[str, Any] = {}
        self._told: set[str] = set()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, stage: str, done: int, steps: int) -> None:
        """Show that `done` of `steps` are behind; a stage without steps is a line of its own, told once."""
        from rich.text import Text

        if steps == 0:
            if stage in self._told:
                return
            self._told.add(stage)
            self._bars.console.print(Text(visible(stage)))
            return
        if not self._tasks:
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(visible(stage), total=steps)
        self._bars.update(self._tasks[stage], completed=done, total=steps)
