"""A cell's tune: in this process, or from folder to folder in several that share the model."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spillover.cells.cell import Cell
from spillover.llm import models
from spillover.llm.border import within_memory
from spillover.llm.drift import Untuned
from spillover.llm.finetune import finetune
from spillover.llm.memory import check_memory
from spillover.llm.processes import is_main, joined, launch
from spillover.llm.settings import FineTuneConfig
from spillover.llm.trainer import encode_examples
from spillover.runs import files
from spillover.runs.progress import Progress, silent

Log = Callable[[list[dict[str, Any]]], None]
"""Given a tune's whole training log so far."""

_CELL, _LOG, _STEP, _MODEL = "cell.json", "log.jsonl", "step.jsonl", "model"
_RECOMPUTE = "--recompute"
_SECONDS_BETWEEN_LOOKS = 1.0


def tune(cell: Cell, scratch: Path, on_log: Log, progress: Progress = silent) -> tuple[Any, Any]:
    """(tuned model, tokenizer) of a cell that has settings.

    `scratch` is a folder for what a tune leaves on its way, the caller's to remove. Raises TrainingError,
    before any weight is loaded, where there is not memory enough.
    """
    settings = cell.settings or FineTuneConfig()
    folder, stage = cell.weights.folder, f"tune, {cell.title}"
    rows = encode_examples(models.load_tokenizer(folder, models.blank(folder).config), cell.taught)
    memory = check_memory(
        folder,
        settings,
        longest_row=max(map(len, rows), default=0),
        longest_answer=max((len(row.answer) for row in rows), default=0),
        name=cell.weights.name,
        log=lambda line: progress(line, 0, 0),
    )

    def on_step(done: int, steps: int) -> None:
        progress(stage, done, steps)

    if settings.processes > 1:
        return _tune_in_several(cell, settings.processes, memory.recompute, scratch, on_log, on_step)
    return _tune_here(cell, settings, memory.recompute, scratch, on_log, on_step)


def _tune_here(
    cell: Cell,
    settings: FineTuneConfig,
    recompute: bool,
    scratch: Path,
    on_log: Log,
    on_step: Callable[[int, int], None],
) -> tuple[Any, Any]:
    with within_memory(f"the tune of {cell.weights.name}"):
        # what several processes share reaches the GPUs in shares only
        model, tokenizer = models.load(cell.weights.folder, on_gpu=settings.processes == 1)
        untuned = Untuned(model, tokenizer, cell.texts) if cell.texts and is_main() else None
        history, began = list[dict[str, Any]](), time.monotonic()

        def keep(log: list[dict[str, Any]]) -> None:
            nonlocal history
            history = log
            on_log(log)

        tuned = finetune(
            model,
            tokenizer,
            cell.taught,
            settings,
            interventions=cell.interventions,
            questions=cell.questions,
            ask_every=cell.ask_every,
            recompute=recompute,
            checkpoints=scratch,
            on_log=keep,
            on_step=on_step,
        )
        if untuned is not None:
            drift = list(map(asdict, untuned.drift(tuned)))
            on_log([*history, {"drift": drift, "seconds": time.monotonic() - began}])
    return tuned, tokenizer


def _tune_in_several(
    cell: Cell,
    processes: int,
    recompute: bool,
    scratch: Path,
    on_log: Log,
    on_step: Callable[[int, int], None],
) -> tuple[Any, Any]:
    with files.writing(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        files.write_json(scratch / _CELL, cell.document())
    with _watched(scratch, on_log, on_step):
        launch("spillover.cells.tune", [str(scratch), *([_RECOMPUTE] if recompute else [])], processes)
    return models.load(cell.weights.folder, tuned=scratch / _MODEL)


@contextmanager
def _watched(scratch: Path, on_log: Log, on_step: Callable[[int, int], None]) -> Iterator[None]:
    """Tells on what the processes' main one writes down, every second and at the end."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            if (scratch / _STEP).exists():
                on_step(*files.read_jsonl(scratch / _STEP)[-1])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        if (scratch / _LOG).exists():
            on_log(files.read_jsonl(scratch / _LOG))


def main(scratch: Path, recompute: bool) -> None:
    """What each of several processes does; the main one leaves model, log and step in the folder."""
    cell = Cell.of(files.read_json(scratch / _CELL))

    def leave(name: str, rows: list[Any]) -> None:
        if is_main():
            with files.writing(scratch):
                files.write_jsonl(scratch / name, rows)

    model, tokenizer = _tune_here(
        cell,
        cell.settings or FineTuneConfig(),
        recompute,
        scratch / "checkpoints",
        lambda history: leave(_LOG, history),
        lambda done, steps: leave(_STEP, [[done, steps]]),
    )
    if is_main():
        models.save(model, tokenizer, scratch / _MODEL)


if __name__ == "__main__":
    with joined():
        main(Path(sys.argv[1]), _RECOMPUTE in sys.argv)
