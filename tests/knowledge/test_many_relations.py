"""The work that a knowledge base costs grows with its relations and rules, and not with their square."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from spillover import knowledge
from spillover.knowledge.leak import check_no_leak
from spillover.knowledge.load import load, load_patterns
from spillover.knowledge.prompts import examples, queries
from spillover.knowledge.split import shuffle_implications, split

_ROOM = str(Path(knowledge.__file__).parent)


def _write(folder: Path, relations: int) -> Path:
    """A YAML and its table: each second relation implies the next one."""
    folder.mkdir()
    names = [f"r{number}" for number in range(relations)]
    rows = [f"s{number // 2}_{k},{name},a{k % 2}" for number, name in enumerate(names) for k in range(4)]
    (folder / "people.csv").write_text("\n".join(["subject,relation,answer", *rows]), "utf-8")
    rule = {"pairs": {"a0": "a0", "a1": "a1"}, "bridges": 1}
    sheet = {
        "relations": {name: {"prompt": f"{{subject}} {name}", "candidates": ["x", "y"]} for name in names},
        "rules": [
            {"fact": fact, "implication": implied} | rule
            for fact, implied in zip(names[::2], names[1::2], strict=True)
        ],
        "triples": "people.csv",
    }
    (folder / "people.yaml").write_text(yaml.safe_dump(sheet), "utf-8")
    return folder / "people.yaml"


def _steps(act: Callable[[], object]) -> int:
    """Steps of the interpreter (opcodes) that the room `knowledge` takes; the same in every run."""
    steps = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: count if frame.f_code.co_filename.startswith(_ROOM) else None)
    try:
        act()
    finally:
        sys.settrace(before)
    return steps


def _use(path: Path) -> None:
    load_patterns(path)
    parts = split(load(path), 0)
    shuffled = shuffle_implications(parts, 0)
    check_no_leak(examples(shuffled), queries(shuffled))


def test_four_times_the_relations_are_four_times_the_work(tmp_path: Path) -> None:
    few, many = (_write(tmp_path / str(relations), relations) for relations in (50, 200))
    _use(few)  # what is done once
    few_steps, many_steps = (_steps(lambda path=path: _use(path)) for path in (few, many))
    assert few_steps > 50_000, "the room's work is counted"
    assert many_steps < 4.4 * few_steps
