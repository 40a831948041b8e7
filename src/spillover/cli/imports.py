"""The verbs for data of one's own: init, import, export."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from spillover.cli.output import Bars, Json, print_json, print_line, tell
from spillover.errors import DataError


def init(table: Path, /, *, out: Path | None = None, json: Json = False) -> int:
    """Write a YAML for a table, with its relations, the rules that it shows, and every key explained.

    Parameters
    ----------
    table
        A table of subject, relation, answer: CSV, TSV, JSONL, JSON, Parquet or Excel.
    out
        The YAML to write (the table's name with .yaml).
    """
    with Bars() as bars:
        from spillover.jobs.init import init as write_sheet

        document = write_sheet(table, out, progress=bars)
    if json:
        print_json(document)
    else:
        print_line(f"Relations: {', '.join(document['relations'])}")
        print_line(f"Rules: {', '.join(document['rules']) or 'none'}")
        print_line(f"Written: {document['file']}")
        if document["rules"]:
            print_line(f"Next: spillover audit {document['file']}")
    for note in document["notes"]:
        tell(f"note: {note}")
    return 0


def import_(
    file: Path,
    /,
    *,
    templates: Annotated[tuple[str, ...], Parameter(name="--as", consume_multiple=True, negative="")] = (),
    rules: Annotated[tuple[str, ...], Parameter(name="--rules", consume_multiple=True, negative="")] = (),
    out: Path = Path("people.yaml"),
    suggest: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Read the records that you fine-tune on, and write the knowledge base that they hold.

    Parameters
    ----------
    file
        Chat messages, prompt / completion, Alpaca, ShareGPT or question / answer, as JSONL, JSON, CSV, TSV or
        Parquet; or RippleEdits, CounterFact, zsRE or PopQA in their own fields, which need no --as.
    templates
        How a relation is asked and answered: 'lives_in: Where does {subject} live? => In {answer}.'; several
        for several wordings.
    rules
        What may spill over: 'lives_in -> codes_in', or 'lives_in -> speaks causal' where it is wanted.
    out
        The YAML to write; its table lies beside it, and the records that match no template.
    suggest
        Propose templates and rules from the file, and write nothing.
    """
    from spillover.jobs.importing import import_records
    from spillover.jobs.suggesting import suggest_templates

    if suggest and templates:
        raise DataError("--suggest proposes what --as is given; leave one of them out")
    document = suggest_templates(file) if suggest else import_records(file, templates, rules=rules, out=out)
    if json:
        print_json(document)
    elif suggest:
        _print_suggestions(document)
    else:
        _print_import(document)
    for note in document.get("notes", ()):
        tell(f"note: {note}")
    return 0


def export(
    kb: str,
    out: Path,
    /,
    *,
    to: Literal["lm-eval", "jsonl"],
    seed: int = 0,
    json: Json = False,
) -> int:
    """Write what an audit asks, for lm-evaluation-harness, or what it trains, for other trainers.

    Parameters
    ----------
    kb
        A YAML file or a built-in name.
    out
        Of lm-eval a new folder, of jsonl a file.
    to
        lm-eval: tasks for lm-evaluation-harness; jsonl: training rows for TRL, axolotl, LLaMA-Factory.
    seed
        Seed of the split into bridges and held-out subjects.
    """
    from spillover.jobs.export import export as write_export

    document = write_export(kb, out, to=to, seed=seed)
    if json:
        print_json(document)
    elif to == "jsonl":
        print_line(f"{document['file']}: {document['rows']} training rows, bridges of seed {seed}")
    else:
        for name, queries in document["tasks"].items():
            print_line(f"  {name}: {queries} queries")
        chat = " --apply_chat_template" if document["format"] == "chat" else ""
        print_line(
            "Run: lm_eval --model hf --model_args pretrained=MODEL,dtype=float32 "
            f"--include_path {document['folder']} --tasks {document['group']}{chat}"
        )
    for note in document["notes"]:
        tell(f"note: {note}")
    return 0


def _print_import(document: Mapping[str, Any]) -> None:
    if document["format"] == "records":
        print_line(f"{document['matched']} of {document['records']} records match a template")
    else:
        print_line(f"{document['matched']} facts of {document['records']} records of {document['format']}")
    for name, relation in document["relations"].items():
        print_line(f"  {name}: {relation['triples']} triples")
        for wording, count in relation["wordings"].items():
            print_line(f"    {count} by {wording}")
    for entry in document["other"]["examples"]:
        print_line(f"  no template: {str(entry)[:100]}")
    print_line(f"Written: {', '.join(document['files'])}")


def _print_suggestions(document: Mapping[str, Any]) -> None:
    relations, count = document["relations"], document["records"]
    if not relations:
        print_line(
            f"No wording recurs in {count} records with other subjects and other answers; nothing to propose"
        )
    else:
        print_line(f"{document['matched']} of {count} records are in wordings that recur")
    for name, relation in relations.items():
        print_line(f"  {name}: {relation['subjects']} subjects, {relation['answers']} answers")
        for wording in relation["wordings"]:
            examples = "; ".join(f"{subject}: {answer}" for subject, answer in wording["examples"])
            print_line(f"    {wording['records']} by {shlex.quote(wording['template'])}")
            print_line(f"      {examples}")
    for rule in document["rules"]:
        print_line(f"  rule {rule['rule']}: {rule['said']}")
    for each in document["passed_over"]:
        print_line(f"  not proposed: {each['records']} by '{each['wording']}': {each['why']}")
    if relations:
        print_line("Look them through, rename, and import:")
        print_line(document["command"])
