"""Files of fact-editing benchmarks, in the fields that their authors document -> a knowledge base.

- CounterFact (Meng et al. 2022, `counterfact.json`): `requested_rewrite` with `prompt`, `subject`,
  `relation_id` and `target_new`; `paraphrase_prompts`. The new answer is the fact.
- zsRE (Levy et al. 2017, as in MEND and ROME, `zsre_mend_eval.json`): `subject`, the question `src`,
  `rephrase`, and the new answer `alt`, or without it `answers`. Relations have no names there.
- PopQA (Mallen et al. 2023, `test.tsv` or Parquet): `subj`, `prop`, `obj`, `question`, and `o_aliases`.
- RippleEdits (Cohen et al. 2024): `edit`, and groups of tests, see `ripple_edits.py`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spillover.knowledge.edits import Answer, Edit, Imported, knowledge_base, worded
from spillover.knowledge.fields import Entry, entry_of, text_of, texts_of
from spillover.knowledge.records import is_training, read_entries
from spillover.knowledge.ripple_edits import ripple_edits

_Entries = Sequence[tuple[str, Entry]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark whose files can be read."""

    title: str
    fields: Mapping[str, type]
    """By which its records are known, with what stands there."""
    read: Callable[[str, _Entries], Imported]

    def is_of(self, entry: Entry) -> bool:
        """Whether it has the fields."""
        return all(name in entry and isinstance(entry[name], kind) for name, kind in self.fields.items())


def benchmark_of(path: Path) -> Benchmark | None:
    """The benchmark whose fields the file's first record has; None where it has those of a training format,
    too, which may have any columns beside.
    """
    _, first = next(read_entries(path), ("", {}))
    if is_training(first):
        return None
    return next((each for each in BENCHMARKS if each.is_of(first)), None)


def read_benchmark(path: Path, benchmark: Benchmark) -> tuple[Imported, int]:
    """What the file holds as a knowledge base, and the number of its records.

    Its notices say what it does not: second answers, wordings of one subject alone, aliases, tests of what
    is not a fact of the edited subject. Raises DataError, with file and record, for a field that is missing
    or of another type.
    """
    said = list[str]()
    entries = list(read_entries(path, said.append))
    found = benchmark.read(path.stem, entries)
    kb = replace(found.kb, notices=(*said, *found.kb.notices))
    return replace(found, kb=kb), len(entries)


def _counterfact(name: str, entries: _Entries) -> Imported:
    edits, beside = list[Edit](), Counter[str]()
    for place, entry in entries:
        rewrite = entry_of(entry, "requested_rewrite", place)
        subject, prompt = (text_of(rewrite, field, place) for field in ("subject", "prompt"))
        target = entry_of(rewrite, "target_new", place)
        paraphrases = (
            worded(_last_sentence(text, subject), subject)
            for text in texts_of(entry, "paraphrase_prompts", place)
        )
        edits.append(
            Edit(
                subject=subject,
                relation=text_of(rewrite, "relation_id", place) if rewrite.get("relation_id") else "",
                wording=worded(prompt.replace("{}", subject), subject) if "{}" in prompt else "",
                answer=Answer(text=text_of(target, "str", place), identity=_identity(target.get("id"))),
                paraphrases=tuple(filter(None, paraphrases)),
            )
        )
        for field in ("neighborhood_prompts", "attribute_prompts", "generation_prompts"):
            beside[field] += len(texts_of(entry, field, place))
    return knowledge_base(name, edits, notes=_beside(beside))


def _zsre(name: str, entries: _Entries) -> Imported:
    edits, beside, new, second = list[Edit](), Counter[str](), 0, 0
    for place, entry in entries:
        subject = text_of(entry, "subject", place)
        first, *more = texts_of(entry, "answers", place) or (text_of(entry, "answers", place),)
        changed = bool(entry.get("alt"))
        new += changed
        second += 0 if changed else len(more)
        rephrase = entry.get("rephrase")
        texts = (rephrase,) if isinstance(rephrase, str) else texts_of(entry, "rephrase", place)
        rephrased = (worded(text, subject) for text in texts)
        edits.append(
            Edit(
                subject=subject,
                relation="",
                wording=worded(text_of(entry, "src", place), subject),
                answer=Answer(text=text_of(entry, "alt", place) if changed else first),
                paraphrases=tuple(filter(None, rephrased)),
            )
        )
        beside["loc"] += bool(entry.get("loc"))
    notes = (
        [f"{new} records have `alt`, to which the answer is changed; it is the fact, and not `answers`"]
        if new
        else []
    )
    if second:  # another answer is no other name: folded, it would be said of other subjects, too
        notes.append(f"{second} second answers are left out; the first in `answers` is the fact")
    return knowledge_base(name, edits, notes=[*notes, *_beside(beside)])


def _popqa(name: str, entries: _Entries) -> Imported:
    named, edits, nameless = dict[str, set[str]](), list[tuple[Edit, str]](), 0
    for place, entry in entries:
        if not entry.get("subj") or not entry.get("obj"):
            nameless += 1
            continue
        subject = text_of(entry, "subj", place)
        identity = _identity(entry.get("subj_id"))
        named.setdefault(subject, set()).add(identity)
        edit = Edit(
            subject=subject,
            relation=text_of(entry, "prop", place),
            wording=worded(text_of(entry, "question", place), subject),
            answer=Answer(
                text=text_of(entry, "obj", place),
                identity=_identity(entry.get("obj_id")),
                aliases=texts_of(entry, "o_aliases", place),
            ),
        )
        edits.append((edit, subject))
    shared = {subject for subject, identities in named.items() if len(identities) > 1}
    notes = [f"{nameless} records without subj or obj are left out"] if nameless else []
    if shared:
        notes.append(f"{len(shared)} names that several subjects have are left out")
    return knowledge_base(name, [edit for edit, subject in edits if subject not in shared], notes=notes)


def _ripple(name: str, entries: _Entries) -> Imported:
    edits, implied, notes = ripple_edits(entries)
    return knowledge_base(name, edits, implied, notes)


def _identity(value: object) -> str:
    return "" if value is None else str(value)


def _last_sentence(text: str, subject: str) -> str:
    """The sentence that names the subject, and what comes after it; what stands before means nothing."""
    before, found, after = text.partition(subject)
    return re.split(r"(?<=[.!?])\s+|\n", before)[-1] + found + after


def _beside(prompts: Mapping[str, int]) -> list[str]:
    """What a knowledge base has no place for."""
    return [
        f"{count} texts in {field} ask of others, or nothing: a knowledge base has no place for them"
        for field, count in prompts.items()
        if count
    ]


BENCHMARKS = (
    Benchmark(title="CounterFact", fields={"requested_rewrite": object}, read=_counterfact),
    Benchmark(title="RippleEdits", fields={"edit": dict}, read=_ripple),
    Benchmark(title="zsRE", fields=dict.fromkeys(("subject", "src", "answers"), object), read=_zsre),
    Benchmark(title="PopQA", fields=dict.fromkeys(("subj", "prop", "obj", "question"), object), read=_popqa),
)
