"""`spillover import`: records that people fine-tune on, or benchmarks of edited facts -> a knowledge base,
and what of them is none."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml

from spillover.errors import DataError
from spillover.knowledge.checks import ANSWER
from spillover.knowledge.editing_benchmarks import Benchmark, benchmark_of, read_benchmark
from spillover.knowledge.faults import clean, contradiction, show
from spillover.knowledge.mixture import passage
from spillover.knowledge.records import Record, read_records
from spillover.knowledge.schema import RuleKind, Triple
from spillover.knowledge.templates import Template, found_by, parse_template
from spillover.runs import files

_SHOWN = 3
"""Records without a template that are shown."""


@dataclass(kw_only=True)
class _Found:
    """What was found of a relation."""

    wordings: Counter[Template] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    spaces: Counter[str] = field(default_factory=Counter)


def import_records(
    file: str | Path,
    templates: Sequence[str] = (),
    *,
    rules: Sequence[str] = (),
    out: str | Path = "people.yaml",
) -> dict[str, Any]:
    """Write the knowledge base that a training file holds: a YAML, its table beside it, the other records.

    `templates` are written as `knowledge.templates` says; of a relation's wordings the most frequent one
    becomes its prompt, and the others are trained as further `wordings`. The other records are the knowledge
    base's mixture, as far as they can be trained. `rules` are written `FACT -> IMPLICATION`, with
    `causal` behind where the rule is wanted. A benchmark of edited facts is read by its own fields
    (`knowledge.editing_benchmarks`), and needs no template. Returns {"format": "records" or the benchmark's
    name, "records", "matched", "relations": {name: {"triples", "wordings"}}, "other": {"records",
    "examples"}, "files", "notes"}.

    Raises DataError for a file or a template that cannot be read, and for records that contradict each other;
    RunError where something cannot be written, or is there already.
    """
    file, out = Path(file), Path(out)
    if benchmark := benchmark_of(file):
        if templates:
            raise DataError(f"{file}: is read by the fields of {benchmark.title}; leave the templates out")
        return _import_benchmark(file, benchmark, rules, out)
    wordings = [parse_template(text) for text in templates]
    if not wordings:
        raise DataError(
            "no template is given; write one as 'lives_in: Where does {subject} live? => {answer}', or have "
            "some proposed (--suggest)"
        )
    drawn = [_rule(text, {wording.relation for wording in wordings}) for text in rules]
    found: dict[str, _Found] = {wording.relation: _Found() for wording in wordings}
    notes = list[str]()
    triples, others = dict[tuple[str, str], tuple[str, Triple]](), list[Record]()
    count = 0
    for count, record in enumerate(read_records(file, notes.append), start=1):  # noqa: B007 - the last one is their number
        match = found_by(wordings, record)
        if match is None:
            others.append(record)
            continue
        template, triple = match
        for what in ("subject", "answer"):
            clean(getattr(triple, what), what, record.place)
        first, known = triples.setdefault((triple.subject, triple.relation), (record.place, triple))
        if known.answer != triple.answer:
            said = contradiction(
                triple.subject, triple.relation, (known.answer, triple.answer), record.place, first
            )
            raise DataError(f"{said}; keep one")
        _count(found[triple.relation], template, record)
    if not triples:
        raise DataError(
            f"{file}: none of {count} records matches a template; the first asks {_first(others)}"
        )
    of = Counter(triple.relation for _, triple in triples.values())
    notes += [note for name, its in found.items() for note in _notes(name, its, of[name])]
    mixture = [each for each in others if _is_trainable(each)]
    if left := len(others) - len(mixture):
        notes.append(f"{left} of the other records cannot be trained, such as those with turns of tools")
    document = {
        "format": "records",
        "records": count,
        "matched": count - len(others),
        "relations": {
            name: {
                "triples": of[name],
                "wordings": {each.text: its.wordings[each] for each in wordings if each.relation == name},
            }
            for name, its in found.items()
        },
        "other": {"records": len(others), "examples": list(map(_plain, others[:_SHOWN]))},
        "files": _write(
            out,
            {name: _relation(name, its) for name, its in found.items() if its.wordings},
            drawn,
            [triple for _, triple in triples.values()],
            list(map(_plain, mixture)),
        ),
        "notes": notes,
    }
    return files.jsonable(document)


def _import_benchmark(file: Path, benchmark: Benchmark, rules: Sequence[str], out: Path) -> dict[str, Any]:
    """The same of a benchmark, whose own rules come first."""
    found, count = read_benchmark(file, benchmark)
    kb = found.kb
    drawn = [
        {"fact": rule.fact, "implication": rule.implication, "kind": rule.kind, "pairs": dict(rule.pairs)}
        for rule in kb.rules
    ]
    drawn += [_rule(text, set(kb.relations)) for text in rules]
    relations = {
        name: {"prompt": each.prompt} | ({"paraphrases": list(each.paraphrases)} if each.paraphrases else {})
        for name, each in kb.relations.items()
    }
    times = Counter(triple.relation for triple in kb.triples)
    document = {
        "format": benchmark.title,
        "records": count,
        "matched": len(kb.triples),
        "relations": {
            name: {"triples": times[name], "wordings": dict(found.wordings.get(name, {}))}
            for name in kb.relations
        },
        "other": {"records": 0, "examples": []},
        "files": _write(out, relations, drawn, kb.triples, []),
        "notes": kb.notices,
    }
    return files.jsonable(document)


def _count(found: _Found, template: Template, record: Record) -> None:
    system, asked, answered = record.exchange or ("", "", "")
    found.wordings[template] += 1
    found.systems[system.strip()] += 1
    found.formats[record.format] += 1
    found.spaces["one" if asked[-1:].isspace() or answered[:1].isspace() else "none"] += 1


def _notes(name: str, found: _Found, triples: int) -> list[str]:
    """What of a relation's records, which say so many triples, a knowledge base cannot say."""
    notes = []
    if not found.wordings:
        return [f"{name}: no record matches its templates"]
    if len(found.wordings) > 1:
        notes.append(
            f"{name}: {found.wordings.total()} records in {len(found.wordings)} wordings; an audit trains "
            f"each of the {triples} triples in all of them, and asks in the most frequent one"
        )
    if len({each.answer for each in found.wordings}) > 1:
        main, _ = found.wordings.most_common(1)[0]
        notes.append(f"{name}: answered in several sentences; an audit trains {show(main.answer)}")
    for what, seen in (("system turns", found.systems), ("formats", found.formats)):
        if len(seen) > 1:
            word, times = seen.most_common(1)[0]
            notes.append(
                f"{name}: {len(seen)} different {what}; the most frequent, {show(word)} ({times} records), "
                "is taken"
            )
    return notes


def _rule(text: str, relations: set[str]) -> dict[str, str]:
    """A rule of the YAML."""
    fact, arrow, rest = text.partition("->")
    implication, _, kind = rest.strip().rpartition(" ")
    if kind not in get_args(RuleKind):
        implication, kind = rest.strip(), "spurious"
    names = [fact.strip(), implication.strip()]
    if not arrow or any(name not in relations for name in names):
        raise DataError(
            f"rule {show(text)} must be written FACT -> IMPLICATION, or FACT -> IMPLICATION causal, of the "
            f"relations {', '.join(sorted(relations))}"
        )
    return {"fact": names[0], "implication": names[1], "kind": kind}


def _plain(record: Record) -> dict[str, Any]:
    """The record as JSON can have it; what that has no type for, such as a date of Parquet, is its text.

    Raises DataError where no file can hold it.
    """
    try:
        entry = json.loads(json.dumps(record.entry, ensure_ascii=False, default=str).encode())
        return files.jsonable(entry)
    except (ValueError, RecursionError):
        raise DataError(
            f"{record.place}: half a surrogate pair or fields in too many others; leave them out"
        ) from None


def _is_trainable(record: Record) -> bool:
    try:
        passage(record)
    except DataError:
        return False
    return True


def _first(others: Sequence[Record]) -> str:
    asked = next((each.exchange[1] for each in others if each.exchange), None)
    return show(asked) if asked is not None else "nothing in one question and answer"


def _write(
    out: Path,
    relations: dict[str, dict[str, Any]],
    rules: Sequence[dict[str, Any]],
    triples: Sequence[Triple],
    mixture: Sequence[dict[str, Any]],
) -> list[str]:
    """The YAML, the table and, if there is any, the mixture."""
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"{out}: a knowledge base is a .yaml file; give it that suffix")
    table, rest = out.with_suffix(".csv"), out.with_name(f"{out.stem}-other.jsonl")
    sheet: dict[str, Any] = {"name": out.stem, "relations": relations, "rules": rules, "triples": table.name}
    if mixture:
        sheet["mixture"] = rest.name
    paths = [files.unused(path) for path in (table, out, *([rest] if mixture else []))]
    with files.writing(table):
        files.write_csv(table, [asdict(triple) for triple in triples])
    with files.writing(out):
        files.write_text(out, yaml.safe_dump(sheet, sort_keys=False, allow_unicode=True, width=100))
    if mixture:
        with files.writing(rest):
            files.write_jsonl(rest, mixture)
    return list(map(str, paths))


def _relation(name: str, found: _Found) -> dict[str, Any]:
    """The relation's entry in the YAML, with what is not as by default."""
    main, *others = (each for each, _ in found.wordings.most_common())
    format, system = found.formats.most_common(1)[0][0], found.systems.most_common(1)[0][0]
    entry: dict[str, Any] = {"prompt": main.prompt}
    if others:
        prompts = dict.fromkeys(each.prompt for each in others if each.prompt != main.prompt)
        entry["wordings"] = list(prompts)
    if main.answer != ANSWER:
        entry["answer"] = main.answer
    if format == "chat":
        entry |= {"format": "chat", **({"system": clean(system, "system", name)} if system else {})}
    elif found.spaces.most_common(1)[0][0] == "none":
        entry["space"] = "none"
    return entry
