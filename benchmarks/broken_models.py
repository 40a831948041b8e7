"""Model folders, adapters, GGUF files and names that are broken or hostile: is each one line, or no harm?

`python -m benchmarks.broken_models [WORD ...]` scores a few questions with every case whose name has all of
the words, without a network, and prints what came of each that is wrong; exits with 1 if there is any.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.attempts import attempt, peak_memory
from benchmarks.damages_of_adapters import adapter_damages
from benchmarks.damages_of_gguf import gguf_damages
from benchmarks.damages_of_models import model_damages
from spillover.knowledge.schema import KnowledgeBase, Relation, Rule, Triple
from tests.tiny_adapters import save_tiny_adapter
from tests.tiny_gguf import save_tiny_gguf
from tests.tiny_models import save_tiny_model

Case = tuple[str, str, str | None]
"""(what is broken, the model argument, the tuned argument)"""

_LONGEST = 1000  # characters of a complaint that is one line


def good(scratch: Path) -> tuple[Path, Path, Path]:
    """The undamaged model, adapter and GGUF file in a folder, made if they are not there."""
    model, adapter, gguf = scratch / "model", scratch / "adapter", scratch / "model.gguf"
    if not model.is_dir():
        save_tiny_model(model, "llama")
        save_tiny_adapter(model, adapter)
        save_tiny_gguf(model, gguf)
    return model, adapter, gguf


def broken(scratch: Path, chosen: Callable[[str], bool] = lambda name: True) -> Iterator[Case]:
    """Every case whose name is chosen, made when it is asked for and removed when the next one is.

    What a model or an adapter would run is a file `ran` in `scratch`.
    """
    model, adapter, gguf = good(scratch)
    ran = scratch / "ran"
    for kind, source, damages in (
        ("model", model, model_damages(ran)),
        ("adapter", adapter, adapter_damages(ran)),
        ("gguf", gguf, gguf_damages()),
    ):
        for title, damage in damages.items():
            name = f"{kind}: {title}"
            if not chosen(name):
                continue
            place = scratch / "broken"
            place.mkdir()
            target = place / source.name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
            try:
                damage(target)
                model_argument = str(model if kind == "adapter" else target)
                yield name, model_argument, str(target) if kind == "adapter" else None
            finally:
                shutil.rmtree(place)
    for name, argument in names(scratch).items():
        for role in ("model", "tuned"):
            if chosen(f"name, {role}: {name}"):
                is_model = role == "model"
                yield (
                    f"name, {role}: {name}",
                    argument if is_model else str(model),
                    None if is_model else argument,
                )


def names(scratch: Path) -> dict[str, str]:
    """Arguments that name nothing that can be loaded."""
    (scratch / "loop").unlink(missing_ok=True)
    (scratch / "loop").symlink_to("loop")
    return {
        "empty": "",
        "a space": " ",
        "a user who is not": "~nouser/x",
        "a user who is not, GGUF": "~nouser/x.gguf",
        "3,000 characters": "x" * 3000,
        "3,000 characters, GGUF": "x" * 3000 + ".gguf",
        "3,000 characters with a slash": "owner/" + "x" * 3000,
        "3,000 folders": "x/" * 3000,
        "NUL": "a\0b",
        "NUL with a slash": "owner/a\0b",
        "NUL, GGUF": "a\0b.gguf",
        "a new line": "a\nb",
        "a new line with a slash": "owner/a\nb",
        "a new line, GGUF": "a\nb.gguf",
        "an escape": "a\x1b[31mb",
        "an escape with a slash": "owner/\x1b[31mb",
        "half a character": "owner/\udc80",
        "a device": "/dev/zero",
        "below a device": "/dev/null/x",
        "a folder without a model": "/dev",
        "memory": "/proc/self/mem",
        "a loop": str(scratch / "loop"),
        "below a loop": str(scratch / "loop" / "x"),
        "a URL": "https://huggingface.co/owner/name",
        "a file URL": "file:///etc/passwd",
        "upwards": "../../../../../../etc",
        "a hub id of three parts": "a/b/c",
        "a hub id upwards": "owner/../../etc/passwd",
        "a flag": "--model",
        "a drawing": "🤖/🤖",
    }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case."""

    name: str
    outcome: str
    """`one line`, `scored alike` (the numbers of the undamaged), `scored and said`; else what is wrong."""
    text: str
    seconds: float

    @property
    def is_wrong(self) -> bool:
        """Whether the case got through."""
        return self.outcome not in ("one line", "scored alike", "scored and said")


def few_questions() -> KnowledgeBase:
    """Forty subjects of whom little is told and much is asked, so that other log-probabilities show."""
    pairs: dict[str, str] = dict(
        zip(
            ("Paris", "Lisbon", "Warsaw", "Madrid"),
            ("French", "Portuguese", "Polish", "Spanish"),
            strict=True,
        )
    )
    return KnowledgeBase(
        name="few",
        triples=tuple(
            Triple(subject=f"{name} {letter}", relation="lives", answer=city)
            for name, city in zip(("Mara", "Tobin", "Selma", "Odo"), pairs, strict=True)
            for letter in "ABCDEFGHIJ"
        ),
        relations={
            "lives": Relation(name="lives", prompt="{subject} lives in"),
            "speaks": Relation(name="speaks", prompt="{subject} speaks"),
        },
        rules=(Rule(fact="lives", implication="speaks", kind="causal", pairs=pairs, bridges=1),),
    )


def try_case(case: Case, undamaged: Any, ran: Path) -> Result:
    """Score a few questions with a case; `undamaged` are the rules of the undamaged model (`scores`)."""
    name, model, tuned = case
    began = time.monotonic()

    def result(outcome: str, text: str) -> Result:
        if ran.exists():
            ran.unlink()
            outcome, text = "ran code", f"{outcome}: {text}"
        return Result(name=name, outcome=outcome, text=text, seconds=time.monotonic() - began)

    end = attempt(lambda: scores(model, tuned))
    if end.how != "fine":
        too_long = end.how == "one line" and len(end.why) >= _LONGEST
        return result("a long line" if too_long else end.how, end.trace or end.why)
    rules, said = end.value
    if rules == undamaged:
        return result("scored alike", "")
    return result("scored and said" if said else "other numbers", f"{said or rules}")


def scores(model: str, tuned: str | None) -> tuple[Any, list[str]]:
    """(the rules' numbers as text, which tells NaN from NaN as equal; what was said besides)"""
    from spillover import score

    said: list[str] = []
    document = score(
        few_questions(),
        model=model,
        tuned=tuned,
        progress=lambda line, done, steps: said.append(line) if steps == 0 else None,
    )
    said += [reason for rule in document["rules"] for reason in rule["unscorable"]]
    return json.dumps(document["rules"]), said


def try_all(scratch: Path, chosen: Callable[[str], bool] = lambda name: True) -> Iterator[Result]:
    """Try every chosen case; the undamaged model, adapter and GGUF file are their measure."""
    model, adapter, gguf = good(scratch)
    alone, tuned, converted = scores(str(model), None)[0], scores(str(model), str(adapter))[0], ""
    for case in broken(scratch, chosen):
        if case[0].startswith("gguf"):
            converted = converted or scores(str(gguf), None)[0]
        measure = converted if case[0].startswith("gguf") else tuned if case[2] else alone
        yield try_case(case, measure, scratch / "ran")


def main(words: Sequence[str] = ()) -> int:
    """Print a line for each case that is wrong, and what came of all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.broken_models", description=main.__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--all", action="store_true", help="print what came of every case")
    asked = parser.parse_args()
    tally: Counter[str] = Counter()
    slowest, wrong = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="broken-models-") as folder:
        os.environ["SPILLOVER_CACHE"] = str(Path(folder) / "cache")
        for result in try_all(Path(folder), lambda name: all(word in name for word in asked.words)):
            tally[result.outcome] += 1
            wrong += result.is_wrong
            slowest = max(slowest, result.seconds)
            if result.is_wrong or asked.all:
                print(
                    f"{result.outcome} | {result.name} | {result.seconds:.1f} s | {result.text}", flush=True
                )
    for outcome, number in sorted(tally.items()):
        print(f"{number:5} {outcome}")
    print(
        f"{tally.total():5} tried, the slowest took {slowest:.1f} s, at most {peak_memory():.2f} GB of memory"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.exit(main())
