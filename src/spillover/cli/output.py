"""What every verb prints with: JSON or tables on stdout, progress bars on stderr."""

import json
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = Annotated[bool, Parameter(help="Print one JSON document on stdout instead of a table.", negative="")]
"""The flag that every verb with results has."""


def print_json(document: Any) -> None:
    """Print one strict JSON document; NaN becomes null."""
    from spillover.runs.files import jsonable

    print(json.dumps(jsonable(document), indent=2, allow_nan=False, ensure_ascii=False))


def print_rich(renderable: "RenderableType") -> None:
    """Print a table or text as wide as the terminal."""
    from rich.console import Console

    Console().print(renderable)


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

        self._bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        return self

    def __exit__(self, *exc: object) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, stage: str, done: int, steps: int) -> None:
        """Show that `done` of `steps` are behind; a stage without steps is a line of its own."""
        if steps == 0:
            self._bars.console.print(stage, markup=False, highlight=False)
            return
        if not self._tasks:
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=steps)
        self._bars.update(self._tasks[stage], completed=done, total=steps)
